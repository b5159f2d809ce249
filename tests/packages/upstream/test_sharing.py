import pytest
from twisted.internet.defer import CancelledError, Deferred

from wit.packages.upstream.sharing import Sharing


class Work:
    def __init__(self):
        self.begun = 0
        self.cancelled = False
        self.gate = Deferred(lambda _: setattr(self, "cancelled", True))

    async def __call__(self):
        self.begun += 1
        return await self.gate


def waiter(sharing, work):
    return Deferred.fromCoroutine(sharing.get("key", work))


def test_one_work_for_many_and_a_new_one_afterwards():
    sharing, work = Sharing(), Work()
    both = [waiter(sharing, work), waiter(sharing, work)]
    work.gate.callback("result")
    assert [deferred.result for deferred in both] == ["result"] * 2
    assert work.begun == 1
    assert waiter(sharing, work).called
    assert work.begun == 2


def test_who_leaves_does_not_end_it_and_the_last_one_does():
    sharing, work = Sharing(), Work()
    first, second = waiter(sharing, work), waiter(sharing, work)
    first.addErrback(lambda failure: failure.trap(CancelledError))
    first.cancel()
    assert not work.cancelled
    second.addErrback(lambda failure: failure.trap(CancelledError))
    second.cancel()
    assert work.cancelled
    again = Work()
    waiter(sharing, again)
    assert again.begun == 1


def test_everybody_hears_of_a_failure():
    sharing, work = Sharing(), Work()
    both = [waiter(sharing, work), waiter(sharing, work)]
    work.gate.errback(KeyError("x"))
    for deferred in both:
        with pytest.raises(KeyError):
            deferred.result.raiseException()
        deferred.addErrback(lambda _: None)
