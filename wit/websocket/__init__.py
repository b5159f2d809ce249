"""The door for WebSockets (RFC 6455): terminals in browsers.

:mod:`wit.web.channel` hands a connection over when its request has been looked at; from then on
Autobahn speaks, in :mod:`wit.websocket.socket`.
"""
