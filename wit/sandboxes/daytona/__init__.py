"""Sandboxes at Daytona, a hosted service (or one's own installation of it).

Two APIs: the control plane makes and ends sandboxes (:mod:`.control`), the toolbox inside each one
runs commands and holds files (:mod:`.toolbox`). Output comes by WebSocket (:mod:`.sockets`).
"""
