// One terminal on the page: xterm.js between the person and a Connection.

const THEME = {
  background: '#0d1117', foreground: '#e6e9ee', cursor: '#e6e9ee', cursorAccent: '#0d1117',
  selectionBackground: '#3b5070', black: '#484f58', red: '#ff7b72', green: '#3fb950',
  yellow: '#d29922', blue: '#58a6ff', magenta: '#bc8cff', cyan: '#39c5cf', white: '#b1bac4',
  brightBlack: '#6e7681', brightRed: '#ffa198', brightGreen: '#56d364', brightYellow: '#e3b341',
  brightBlue: '#79c0ff', brightMagenta: '#d2a8ff', brightCyan: '#56d4dd', brightWhite: '#ffffff',
};
const SETTLE = 100; // milliseconds that a window keeps its size before the terminal follows
const encoder = new TextEncoder();

class Screen {
  /** `page` is told: changed(screen) when status or title are others, over(screen, outcome). */
  constructor(path, parameters, title, page) {
    this.page = page;
    this.name = title; // until a program gives it a title
    this.title = title;
    this.state = { kind: 'waiting', text: 'Connecting…' };
    this.readonly = false;
    this.quiet = true; // answers of xterm.js to a replay are nobody's typing
    this.element = document.createElement('div');
    this.element.className = 'screen';
    this.box = document.createElement('div');
    this.box.className = 'box';
    this.element.append(this.box);
    this.terminal = new Terminal({
      allowProposedApi: false, cursorBlink: true, fontSize: 14, scrollback: 10000, theme: THEME,
      fontFamily: 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace',
      macOptionIsMeta: true, rightClickSelectsWord: false,
    });
    this.fit = new FitAddon.FitAddon();
    this.terminal.loadAddon(this.fit);
    this.terminal.onData((text) => this.type(encoder.encode(text)));
    this.terminal.onBinary((text) => this.type(Uint8Array.from(text, (char) => char.charCodeAt(0))));
    this.terminal.attachCustomKeyEventHandler((event) => this.key(event));
    this.element.addEventListener('mouseup', () => this.copy());
    this.connection = new Connection(path, parameters, () => this.window() || {}, this);
    this.observer = new ResizeObserver(() => {
      clearTimeout(this.settling);
      this.settling = setTimeout(() => this.tellSize(), SETTLE);
    });
  }

  /** Put it on the page; the first time, connect. */
  show(parent) {
    const first = !this.element.isConnected;
    if (first) {
      parent.append(this.element);
      this.terminal.open(this.box);
      this.terminal.textarea.setAttribute('aria-label', `Terminal: ${this.title}`);
    }
    this.element.hidden = false;
    this.observer.observe(this.box);
    if (first) this.connection.connect();
  }

  hide() {
    this.observer.unobserve(this.box);
    this.element.hidden = true;
  }

  focus() {
    this.terminal.focus();
  }

  dispose() {
    this.connection.end();
    this.observer.disconnect();
    clearTimeout(this.settling);
    this.terminal.dispose();
    this.element.remove();
  }

  // the window

  window() {
    const size = this.element.hidden ? undefined : this.fit.proposeDimensions();
    return size && size.cols && size.rows ? { cols: size.cols, rows: size.rows } : null;
  }

  /** The server says which size the terminal gets: others may look at it, too. */
  tellSize() {
    const size = this.window();
    if (size && !this.readonly) this.connection.send({ t: 'resize', ...size });
  }

  // what the person does

  type(bytes) {
    if (!this.quiet && !this.readonly) this.connection.type(bytes);
  }

  key(event) {
    if (event.shiftKey && event.key === 'F6') {
      if (event.type === 'keydown') this.page.leave(this);
      return false;
    }
    if (!event.ctrlKey || !event.shiftKey || event.altKey) return true;
    if (event.code === 'KeyC') {
      if (event.type === 'keydown') this.copy();
      event.preventDefault();
      return false;
    }
    return event.code !== 'KeyV'; // the browser pastes, and xterm.js takes that
  }

  copy() {
    const text = this.terminal.getSelection();
    if (!text) return;
    if (navigator.clipboard) navigator.clipboard.writeText(text).catch(() => {});
    else document.execCommand('copy'); // no https: xterm.js answers with the selection
  }

  // what the connection tells

  began(hello) {
    this.quiet = true;
    this.readonly = hello.readonly;
    this.terminal.options.disableStdin = hello.readonly;
    if (hello.reset) this.terminal.reset();
    this.resized(hello.cols, hello.rows);
    if (hello.title) this.titled(hello.title);
    this.element.classList.toggle('watched', hello.readonly);
    this.element.classList.remove('gone');
  }

  output(bytes, done) {
    this.terminal.write(bytes, done);
  }

  replayed() {
    this.terminal.write('', () => { this.quiet = false; });
    this.ready();
    this.tellSize(); // the window may have another size than when the connection was asked for
  }

  resized(cols, rows) {
    if (cols !== this.terminal.cols || rows !== this.terminal.rows) this.terminal.resize(cols, rows);
    if (this.state.kind === 'ready') this.ready();
  }

  ready() {
    const { cols, rows } = this.terminal;
    this.status('ready', this.readonly ? `View only · ${cols}×${rows}` : `Ready · ${cols}×${rows}`);
  }

  titled(title) {
    this.title = title || this.name;
    this.terminal.textarea?.setAttribute('aria-label', `Terminal: ${this.title}`);
    this.page.changed(this);
  }

  status(kind, text) {
    this.state = { kind, text };
    if (kind !== 'ready') this.quiet = true;
    this.page.changed(this);
  }

  over(outcome) {
    this.element.classList.add('gone');
    this.terminal.options.disableStdin = true;
    this.page.over(this, outcome);
  }
}
