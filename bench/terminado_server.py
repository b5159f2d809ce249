"""terminado as its documentation shows it: a new terminal for each WebSocket.

Runs in an environment of its own (bench.terminals), where tornado and terminado are.
"""

import sys

import terminado
import tornado.ioloop
import tornado.web

manager = terminado.UniqueTermManager(shell_command=["bash", "--norc"], max_terminals=2000)
application = tornado.web.Application(
    [(r"/ws", terminado.TermSocket, {"term_manager": manager})], websocket_ping_interval=0
)
application.listen(int(sys.argv[1]), "127.0.0.1")
tornado.ioloop.IOLoop.current().start()
