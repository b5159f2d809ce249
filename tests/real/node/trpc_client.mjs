// The real @trpc/client against whatever serves URL: node trpc_client.mjs URL TOKEN SCENARIO
// Prints what happened as JSON; values that JSON has no words for are described.
import {
  createTRPCUntypedClient, httpBatchLink, httpBatchStreamLink, httpLink, httpSubscriptionLink,
  splitLink,
} from '@trpc/client'
import { EventSource } from 'eventsource'
import superjson from 'superjson'
import { describe } from './values.mjs'

const [base, token, scenario, ...more] = process.argv.slice(2)
const url = `${base}/trpc`
const headers = token ? { authorization: `Bearer ${token}` } : {}
const common = { url, headers, transformer: superjson }
const EventSourceWithHeaders = class extends EventSource {
  constructor(address, init) {
    super(address, {
      ...init,
      fetch: (input, options) => fetch(input, { ...options, headers: { ...options.headers, ...headers } }),
    })
  }
}
const subscriptions = httpSubscriptionLink({ url, transformer: superjson, EventSource: EventSourceWithHeaders })
const links = {
  http: httpLink(common),
  batch: httpBatchLink(common),
  stream: httpBatchStreamLink(common),
}
const clientOf = (link) => createTRPCUntypedClient({
  links: [splitLink({ condition: (op) => op.type === 'subscription', true: subscriptions, false: link })],
})

const told = (error) => ({ message: error.message, shape: error.shape ?? null, data: error.data ?? null })
const outcome = (promise) => promise.then((value) => ({ ok: describe(value) }), (error) => ({ error: told(error) }))

function watch(client, path, input) {
  const seen = []
  return new Promise((resolve) => {
    const subscription = client.subscription(path, input, {
      onStarted: () => seen.push('started'),
      onData: (item) => seen.push(describe(item)),
      onConnectionStateChange: (state) => {
        if (state.error && state.state === 'connecting') {
          seen.push({ retries: told(state.error) })
          subscription.unsubscribe()
          resolve(seen)
        }
      },
      onError: (error) => { seen.push({ error: told(error) }); resolve(seen) },
      onComplete: () => { seen.push('complete'); resolve(seen) },
    })
  })
}

const calls = (client) => [
  client.query('plain.echo', { value: {
    date: new Date(5), big: 2n ** 70n, map: new Map([['k', new Date(7)]]),
    set: new Set([1, 'x']), nan: NaN, inf: -Infinity, zero: -0, 'do.t\\ted': new Date(9),
    list: [undefined, new Date(1), [NaN]], text: 'ü €   \u{1f600}',
    url: new URL('https://example.org/'), regexp: /a+/g, error: new Error('no'), bytes: new Uint8Array([1, 2]),
  } }),
  client.query('plain.fixed'),
  client.query('plain.date'),
  client.query('plain.nothing'),
  client.query('plain.none'),
  client.query('plain.optional'),
  client.query('plain.optional', { limit: undefined }),
  client.query('plain.optional', { limit: 5 }),
  client.query('deep.inner.get'),
  client.query('plain.me'),
  client.query('plain.missing'),
  client.query('plain.crash'),
  client.query('plain.buy', { name: 'x', size: 1.5, kind: 'huge', tags: [] }),
  client.query('plain.buy', undefined),
  client.query('plain.buy', null),
  ...['BAD_REQUEST', 'UNAUTHORIZED', 'FORBIDDEN', 'NOT_FOUND', 'TIMEOUT', 'CONFLICT',
    'PRECONDITION_FAILED', 'PAYLOAD_TOO_LARGE', 'TOO_MANY_REQUESTS', 'SERVICE_UNAVAILABLE',
  ].map((code) => client.query('plain.fail', { code })),
  client.mutation('plain.add', { a: 1, b: 2 }),
  client.mutation('plain.add', { a: 1 }),
  client.mutation('plain.touch'),
  client.mutation('plain.rename', { name: 'x' }),
]

const scenarios = {
  async links() {
    const result = {}
    for (const [name, link] of Object.entries(links)) {
      result[name] = await Promise.all(calls(clientOf(link)).map(outcome))
    }
    return result
  },
  async subscriptions() {
    const client = clientOf(links.batch)
    return {
      count: await watch(client, 'watch.count', { to: 3 }),
      later: await watch(client, 'watch.count', { to: 3, lastEventId: '2' }),
      items: await watch(client, 'watch.items'),
      breaks: await watch(client, 'watch.breaks'),
      crashes: await watch(client, 'watch.crashes'),
      mine: await watch(client, 'watch.mine', { n: 1 }),
      wrong: await watch(client, 'watch.mine', { n: 'x' }),
      missing: await watch(client, 'watch.nowhere'),
    }
  },
  // What is there first comes first: the answer that waits is let go by the one that came.
  async order() {
    const streaming = clientOf(links.stream)
    const other = clientOf(links.http)
    const order = []
    const slow = streaming.query('gate.wait').then(() => order.push('slow'))
    const fast = streaming.query('plain.date').then(async () => {
      order.push('fast')
      await other.mutation('gate.open')
    })
    await Promise.all([slow, fast])
    return order
  },
  // A subscription that its client leaves, and one that the server's end cuts off.
  async leave() {
    const client = clientOf(links.batch)
    return await new Promise((resolve) => {
      const subscription = client.subscription('gate.forever', undefined, {
        onData: (item) => { subscription.unsubscribe(); resolve(item) },
      })
    })
  },
  async tokens() {
    const client = clientOf(links.batch)
    const outcomes = await Promise.all([
      client.query('tokens.list'), client.query('tokens.scopes'),
      client.query('tokens.get', { id: 'nonsense' }),
      client.query('tokens.get', { id: '00000000-0000-4000-8000-000000000000' }),
      client.mutation('tokens.create', { name: 'x', scopes: ['repo:read'] }),
      client.query('tokens.verify', { token }),
      client.mutation('tokens.delete', { id: '00000000-0000-4000-8000-000000000000' }),
    ].map(outcome))
    return outcomes
  },
  async sandboxes() {
    const client = clientOf(links.batch)
    const [sandboxId] = more
    const run = (input) => new Promise((resolve) => {
      const seen = []
      client.subscription('sandboxes.run', { sandboxId, argv: ['echo', 'hello world'], ...input }, {
        onData: (item) => seen.push(item.data.type),
        onError: (error) => resolve(told(error)),
        onComplete: () => resolve(seen),
      })
    })
    return [
      await outcome(client.query('sandboxes.get', { sandboxId })),
      await outcome(client.mutation('sandboxes.exec', { sandboxId, argv: ['printf', '%s', 'hello world'] })),
      await run({}),
      await run({ lastEventId: 'x' }),
      await outcome(client.query('sandboxes.get', { sandboxId: '0'.repeat(32) })),
    ]
  },
}

console.log(JSON.stringify(await scenarios[scenario]()))
process.exit(0)
