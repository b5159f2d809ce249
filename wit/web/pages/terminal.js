// The page: tabs, each with a Screen; messages, sharing, keys of phones.

const state = JSON.parse(document.body.dataset.state);
const at = (id) => document.getElementById(id);
const title = document.title;
const socketPath = `/api/sandbox/ws/${state.repoId}`;
const screens = new Map(); // tab (an element) -> Screen
let current = null;
let opened = 0;
let note = null;

/** Call a procedure of the API (/api/docs), as tRPC has it. Raises an Error with its sentence. */
async function api(procedure, input) {
  const answer = await fetch(`/trpc/sandboxes.${procedure}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ json: input }),
  });
  const { result, error } = await answer.json();
  if (error) throw new Error(error.json.message);
  return result.data.json;
}

function sentence(text) {
  const said = text.trim() || 'It is not known why';
  return said[0].toUpperCase() + said.slice(1) + (/[.!?]$/.test(said) ? '' : '.');
}

/** Say something over the terminal, with a button that does something about it. */
function say(text, label = '', act = null) {
  at('message').hidden = false;
  at('sentence').textContent = sentence(text);
  at('act').hidden = !label;
  at('act').textContent = label;
  at('act').onclick = () => {
    quiet();
    act();
  };
}

function quiet() {
  at('message').hidden = true;
}

/** A word in the status line, for a moment. */
function remark(text) {
  clearTimeout(note?.timer);
  note = { text, timer: setTimeout(() => { note = null; showStatus(); }, 5000) };
  showStatus();
}

function showStatus() {
  const screen = screens.get(current);
  const { kind, text } = screen ? screen.state : { kind: 'over', text: 'No terminal' };
  at('status').dataset.is = kind;
  at('status').textContent = note ? note.text : text;
  const sandbox = screen?.connection.sandbox;
  at('status').title = sandbox ? `Sandbox ${sandbox}, over SSH: sandbox:${sandbox}@…` : '';
  at('share').hidden = !screen || screen.readonly || kind !== 'ready';
  document.title = screen ? `${screen.title} · ${title}` : title;
}

// tabs

function labelled(element, text) {
  element.title = text;
  element.setAttribute('aria-label', text);
  return element;
}

function button(role, text) {
  const made = document.createElement('button');
  made.type = 'button';
  if (role) made.setAttribute('role', role);
  made.textContent = text;
  return made;
}

const page = {
  changed(screen) {
    const tab = tabOf(screen);
    if (!tab) return;
    const name = tab.querySelector('[role=tab]');
    name.textContent = name.title = screen.title;
    if (tab === current) showStatus();
  },
  leave(screen) {
    tabOf(screen).querySelector('[role=tab]').focus();
  },
  over(screen, { code, reason, sentence: why }) {
    const tab = tabOf(screen);
    if (!tab) return;
    const exit = reason?.t === 'exit' && !reason.reason;
    const status = exit && (reason.signal ? `signal ${reason.signal}` : `code ${reason.code}`);
    screen.status('over', exit ? `Ended with ${status}` : sentence(why || `closed (${code})`));
    screen.explain = () => explain(tab, screen, code, reason, why);
    if (tab === current) screen.explain();
  },
};

function tabOf(screen) {
  for (const [tab, one] of screens) if (one === screen) return tab;
  return null;
}

function add(parameters, title) {
  const tab = document.createElement('div');
  tab.className = 'tab';
  opened += 1;
  const shown = title || `Terminal ${opened}`;
  const name = button('tab', shown);
  const close = labelled(button('', '×'), 'Close this terminal');
  close.className = 'close';
  tab.append(name, close);
  tab.setAttribute('role', 'presentation');
  name.onclick = () => select(tab, true);
  close.onclick = () => remove(tab);
  at('tabs').append(tab);
  const screen = new Screen(socketPath, parameters, shown, page);
  screens.set(tab, screen);
  return tab;
}

function openNew(parameters = {}) {
  quiet();
  select(add(parameters), true);
}

function select(tab, focus) {
  if (current && current !== tab) screens.get(current)?.hide();
  current = tab;
  for (const other of screens.keys()) {
    const name = other.querySelector('[role=tab]');
    name.setAttribute('aria-selected', other === tab);
    name.tabIndex = other === tab ? 0 : -1;
  }
  quiet();
  const screen = screens.get(tab);
  screen.show(at('screens'));
  if (focus) screen.focus();
  tab.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  showStatus();
  screen.explain?.();
}

/** Close a tab and hang its terminal up; somebody who only watches just leaves. */
async function remove(tab) {
  const screen = screens.get(tab);
  const { id, sandbox, ended } = screen.connection;
  if (id && sandbox && !ended && !screen.readonly) {
    try {
      await api('closeTerminal', { sandboxId: sandbox, terminalId: id });
    } catch (error) {
      remark(sentence(error.message));
      return;
    }
  }
  drop(tab);
}

function drop(tab) {
  if (!screens.has(tab)) return; // its end was heard of in two ways
  const tabs = [...screens.keys()];
  const next = tabs[tabs.indexOf(tab) + 1] || tabs[tabs.indexOf(tab) - 1];
  screens.get(tab).dispose();
  screens.delete(tab);
  tab.remove();
  if (tab !== current) return;
  current = null;
  if (next) {
    select(next, true);
    return;
  }
  showStatus();
  if (state.mayOpen) say('No terminal is open.', 'New terminal', openNew);
}

// why there is nothing to type into

function explain(tab, screen, code, reason, why) {
  const again = () => {
    drop(tab);
    openNew();
  };
  const signIn = () => {
    location.href = `/login?returnTo=${encodeURIComponent(location.pathname)}`;
  };
  if (reason?.t === 'exit' && reason.reason === 'closed') {
    drop(tab);
  } else if (screen.readonly || !state.mayOpen) {
    say(why || 'This is over', '', null);
  } else if (code === 4401) {
    say('You are not signed in any more', 'Sign in', signIn);
  } else if (code === 4403 || code === 4412) {
    say(why, 'Try again', again);
  } else if (reason?.t === 'error' && reason.code === 'conflict' && screens.size === 1) {
    say(why, 'Make a new sandbox', () => renew(tab));
  } else if (reason?.t === 'exit' && !reason.reason) {
    say(screen.state.text, 'New terminal', again);
  } else {
    say(why || 'This terminal is over', reason?.t === 'error' ? 'Try again' : 'New terminal', again);
  }
}

/** In place of a sandbox that was lost. */
async function renew(tab) {
  remark('Making a sandbox…');
  try {
    const [owner, repo] = state.name.split('/');
    await api('create', { owner, repo });
  } catch (error) {
    say(error.message, 'Try again', () => renew(tab));
    return;
  }
  drop(tab);
  openNew();
}

// sharing

/** A link with which one person can watch: it is good once, for a minute. */
async function share() {
  const { id } = screens.get(current).connection;
  try {
    const { ticket } = await api('ticket', { id, viewOnly: true });
    const link = `${location.origin}${location.pathname}#ticket=${ticket}`;
    if (!navigator.clipboard) throw new Error(`give this link away within a minute: ${link}`);
    await navigator.clipboard.writeText(link);
    remark('Copied a link to watch this terminal: good once, for a minute');
    screens.get(current)?.focus();
  } catch (error) {
    say(error.message, 'Close', () => screens.get(current)?.focus());
  }
}

// the person's other keys

function onTabKey(event) {
  const tabs = [...screens.keys()];
  const here = tabs.findIndex((tab) => tab.contains(event.target));
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  if (here < 0 || !(event.key in steps)) return;
  event.preventDefault();
  const next = tabs[(here + steps[event.key] + tabs.length) % tabs.length];
  select(next, false);
  next.querySelector('[role=tab]').focus();
}

function onPhoneKey({ target }) {
  const screen = screens.get(current);
  const { key, arrow } = target.dataset;
  if (!screen || !(key || arrow)) return;
  const prefix = screen.terminal.modes.applicationCursorKeysMode ? '\x1bO' : '\x1b[';
  screen.terminal.input(key || prefix + arrow);
  screen.focus();
}

function start() {
  at('new').onclick = () => openNew();
  at('new').hidden = !state.mayOpen;
  at('share').onclick = share;
  at('tabs').onkeydown = onTabKey;
  at('keys').onclick = onPhoneKey;
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (fragment.has('ticket')) {
    const ticket = fragment.get('ticket');
    history.replaceState(null, '', location.pathname); // it is good once
    openNew({ ticket, view: 1 });
  } else if (fragment.has('watch')) {
    openNew({ terminal: fragment.get('watch'), view: 1 });
  } else if (!state.mayOpen) {
    say(`A terminal in a sandbox of ${state.name} needs write access to it; ask its owner`);
    showStatus();
  } else if (state.terminals.length) {
    for (const { id, title } of state.terminals) add({ terminal: id }, title);
    select([...screens.keys()].at(-1), true);
  } else {
    openNew();
  }
}

start();
