// The `ws` client in front of a terminal: node terminal.mjs URL BEARER FORM, where FORM is
// contract (JSON messages) or term (wit.term.v1). Prints what it has seen as JSON.
import WebSocket from 'ws'

const [url, bearer, form] = process.argv.slice(2)
const seen = { protocol: null, kinds: [], sizes: [], output: '', exit: null, close: null }
const socket = new WebSocket(url, form === 'term' ? ['wit.term.v1'] : [], {
  headers: { authorization: `Bearer ${bearer}` },
})
const say = (message) => socket.send(JSON.stringify(message))

// What is typed, each when the output holds what is waited for.
const resize = (cols, rows) => (form === 'term' ? { t: 'resize', cols, rows } : { type: 'resize', cols, rows })
const type = (text) => (form === 'term' ? socket.send(Buffer.from(text)) : say({ type: 'input', data: text }))
const steps = [
  [/[$#] $/, () => type('stty size; echo \u00e9-$((6*7))\r')],
  [/30 100\s+\u00e9-42/, () => { say(resize(90, 20)); type('sleep 0.2; stty size\r') }],
  [/20 90\s/, () => type('yes | head -c 600000 | tr y z; echo ne$((1))xt\r')],
  [/ne1xt/, () => type('sed -u s/e/E/\nmeow\n')],
  [/mEow\s+/, () => type('\u0003')],
  [/\^C[^]*[$#] $/, () => type('exit 7\r')],
]
let position = 0
let taken = 0
const decoder = new TextDecoder()

function show(text, bytes) {
  seen.output += text
  taken += bytes
  if (form === 'term') say({ t: 'ack', n: taken })
  while (steps.length) {
    const found = steps[0][0].exec(seen.output.slice(position))
    if (!found) break
    position += found.index + found[0].length
    steps.shift()[1]()
  }
}

socket.on('open', () => {
  seen.protocol = socket.protocol
  if (form === 'contract') say({ type: 'init', cols: 100, rows: 30 })
})
socket.on('message', (data, isBinary) => {
  if (isBinary) return show(decoder.decode(data, { stream: true }), data.length)
  const message = JSON.parse(data)
  const kind = message.type ?? message.t
  if (seen.kinds.at(-1) !== kind) seen.kinds.push(kind)
  if (kind === 'data') show(message.data, 0)
  if (kind === 'size') seen.sizes.push([message.cols, message.rows])
  if (kind === 'exit' || kind === 'error') seen.exit = message
})
socket.on('error', (error) => { seen.error = error.message })
socket.on('close', (code) => {
  seen.close = code
  seen.printed = (seen.output.match(/z\r\n/g) ?? []).length
  seen.output = seen.output.slice(-400)
  console.log(JSON.stringify(seen))
})
setTimeout(() => { console.error('too long', seen.output.slice(-400)); process.exit(1) }, 30000).unref()
