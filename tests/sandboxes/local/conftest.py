from tests.sandboxes.local.fixtures import local, new_box

__all__ = ["local", "new_box"]
