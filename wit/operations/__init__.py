"""Every API procedure, declared once and served by all the doors."""
