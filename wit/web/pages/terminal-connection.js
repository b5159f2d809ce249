// One terminal's WebSocket, in the form wit.term.v1 (docs/terminals.md): it comes back by itself after
// a loss, where it had stopped. Knows nothing of the page.

const ACK_BYTES = 64 * 1024;
const FIRST_WAIT = 500, LONGEST_WAIT = 30000; // between two attempts, in milliseconds
const PING_EVERY = 25000, PING_PATIENCE = 10000;

/** Close codes after which the same may work a little later. */
const PASSING = new Set([1001, 1005, 1006, 1011, 1012, 1013, 1014, 4429]);

class Connection {
  /**
   * `screen` is told what comes: began(hello), output(bytes, done), replayed(), resized(cols, rows),
   * titled(text), and what becomes of it: status(kind, text), over(outcome).
   * `parameters` are those of the address; `size()` is the window's {cols, rows}, if it has one.
   */
  constructor(path, parameters, size, screen) {
    this.path = path;
    this.parameters = parameters;
    this.size = size;
    this.screen = screen;
    this.id = parameters.terminal || null;
    this.sandbox = null;
    this.offset = null;
    this.wait = FIRST_WAIT;
    this.socket = null;
    this.timer = null;
    this.ended = false;
    this.reason = null;
    this.onOffline = () => this.drop();
    this.onOnline = () => this.socket || this.connect();
    window.addEventListener('offline', this.onOffline);
    window.addEventListener('online', this.onOnline);
  }

  connect() {
    clearTimeout(this.timer);
    this.screen.status('waiting', this.offset === null ? 'Connecting…' : 'Reconnecting…');
    const address = new URL(this.path, location.href);
    address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const asked = { ...this.parameters, ...this.size() };
    if (this.id) asked.terminal = this.id;
    if (this.id && this.offset !== null) asked.from = this.offset;
    for (const [name, value] of Object.entries(asked)) address.searchParams.set(name, value);
    const socket = new WebSocket(address, ['wit.term.v1']);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    this.shown = 0;
    this.acknowledged = 0;
    this.heard = false;
    socket.onmessage = ({ data }) => {
      this.hears();
      if (typeof data === 'string') this.take(JSON.parse(data));
      else this.output(new Uint8Array(data), socket);
    };
    socket.onclose = ({ code, reason }) => socket === this.socket && this.closed(code, reason);
  }

  output(bytes, socket) {
    this.offset += bytes.length;
    this.screen.output(bytes, () => {
      if (socket !== this.socket) return;
      this.shown += bytes.length;
      if (this.shown - this.acknowledged < ACK_BYTES) return;
      this.acknowledged = this.shown;
      this.send({ t: 'ack', n: this.shown });
    });
  }

  take(message) {
    switch (message.t) {
      case 'hello':
        this.id = message.id;
        this.sandbox = message.sandbox;
        this.offset = message.offset;
        this.wait = FIRST_WAIT;
        this.screen.began(message);
        break;
      case 'replayed': this.screen.replayed(); break;
      case 'size': this.screen.resized(message.cols, message.rows); break;
      case 'title': this.screen.titled(message.title); break;
      case 'lost':
        this.screen.status('ready', `Too slow: ${message.bytes} bytes were skipped`);
        break;
      case 'exit':
      case 'error': this.reason = message; break;
    }
  }

  /** Something came, so the connection lives; ask again after a while. */
  hears() {
    clearTimeout(this.pulse);
    this.pulse = setTimeout(() => {
      this.send({ t: 'ping', id: '' });
      this.pulse = setTimeout(() => this.drop(), PING_PATIENCE);
    }, PING_EVERY);
  }

  /** The connection is dead, whether or not the browser has noticed. */
  drop() {
    const socket = this.socket;
    if (!socket) return;
    this.socket = null;
    socket.close();
    this.lost();
  }

  closed(code, text) {
    this.socket = null;
    const reason = this.reason;
    this.reason = null;
    // What has just been refused is not asked for again and again; a terminal that was there is.
    const passing = PASSING.has(code) && reason?.t !== 'exit' && (!reason || this.offset !== null);
    if (passing && !this.ended) {
      this.lost();
      return;
    }
    this.end();
    this.screen.over({ code, reason, sentence: reason?.message || text });
  }

  lost() {
    clearTimeout(this.pulse);
    if (this.ended) return;
    if (!navigator.onLine) {
      this.screen.status('waiting', 'Offline: this goes on when the network is back');
      return;
    }
    const until = Date.now() + this.wait * (0.75 + Math.random() / 2);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    const count = () => {
      const left = Math.ceil((until - Date.now()) / 1000);
      if (left <= 0) {
        this.connect();
        return;
      }
      this.screen.status('waiting', `Connection lost, reconnecting in ${left} s`);
      this.timer = setTimeout(count, Math.min(1000, until - Date.now()));
    };
    count();
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** Whether the bytes went out. A message has at most 64 KiB. */
  type(bytes) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    for (let at = 0; at < bytes.length; at += 32768) this.socket.send(bytes.slice(at, at + 32768));
    return true;
  }

  /** Leave; the terminal stays. */
  end() {
    this.ended = true;
    clearTimeout(this.timer);
    clearTimeout(this.pulse);
    window.removeEventListener('offline', this.onOffline);
    window.removeEventListener('online', this.onOnline);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }
}
