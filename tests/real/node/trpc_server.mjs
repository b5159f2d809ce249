// A real @trpc/server with superjson and zod, with the procedures of tests/trpc/procedures.py.
// Prints its port, and lives until its standard input ends.
import { initTRPC, tracked, TRPCError } from '@trpc/server'
import { createHTTPServer } from '@trpc/server/adapters/standalone'
import superjson from 'superjson'
import { z } from 'zod'

const t = initTRPC.context().create({ transformer: superjson, isDev: false })
const open = t.procedure
const signedIn = t.procedure.use(({ ctx, next }) => {
  if (!ctx.user) throw new TRPCError({ code: 'UNAUTHORIZED', message: 'sign in to do this' })
  return next()
})
const AT = new Date('2024-02-03T04:05:06.789Z')
const codes = [
  'BAD_REQUEST', 'UNAUTHORIZED', 'FORBIDDEN', 'NOT_FOUND', 'TIMEOUT', 'CONFLICT',
  'PRECONDITION_FAILED', 'PAYLOAD_TOO_LARGE', 'TOO_MANY_REQUESTS', 'SERVICE_UNAVAILABLE',
]
const shop = z.object({
  name: z.string().min(2).max(5),
  size: z.number().int().min(1).max(9),
  ratio: z.number().gt(0).lt(1).optional(),
  step: z.number().int().multipleOf(5).optional(),
  kind: z.enum(['small', 'large']),
  only: z.literal('yes').optional(),
  tags: z.array(z.string().max(3)).min(1).max(2),
  id: z.string().uuid().optional(),
  code: z.string().regex(/^[a-z]+$/).optional(),
  slug: z.string().min(2).max(4).regex(/^[a-z]+$/).optional(),
  three: z.string().length(3).optional(),
  flag: z.boolean().optional(),
  note: z.string().nullable().optional(),
  remark: z.string().max(3).optional(),
  numbers: z.array(z.number().int().min(1)).max(3).optional(),
  due: z.date().optional(),
  inner: z.object({ deep: z.array(z.object({ x: z.number() })) }).optional(),
  map: z.record(z.number()).optional(),
  either: z.union([z.string(), z.number()]).optional(),
  pick: z.discriminatedUnion('type', [
    z.object({ type: z.literal('a'), a: z.string() }),
    z.object({ type: z.literal('b'), b: z.number() }),
  ]).optional(),
})

const router = t.router({
  plain: t.router({
    echo: open.input(z.object({ value: z.any() })).query(({ input }) => input.value),
    fixed: open.query(() => ({
      at: AT, list: [{ at: new Date(AT) }], 'a.b\\c': new Date(AT), nothing: null, missing: undefined, text: 'ü €',
      big: 12345678901234567890n, set: new Set([1]), wrong: NaN, zero: -0,
    })),
    date: open.query(() => AT),
    nothing: open.query(() => undefined),
    none: open.query(() => null),
    optional: open.input(z.object({ limit: z.number().int().default(3) }).optional())
      .query(({ input }) => input?.limit ?? 3),
    fail: open.input(z.object({ code: z.enum(codes) })).query(({ input }) => {
      throw new TRPCError({ code: input.code, message: `this is ${input.code}` })
    }),
    crash: open.query(() => { throw new Error('the secret of the database') }),
    buy: open.input(shop).query(() => true),
    add: open.input(z.object({ a: z.number(), b: z.number() }))
      .mutation(({ input }) => ({ sum: input.a + input.b, at: AT })),
    touch: open.mutation(() => undefined),
    me: signedIn.query(({ ctx }) => ({ user: ctx.user })),
    rename: signedIn.input(z.object({ name: z.string() }))
      .mutation(({ ctx, input }) => ({ user: ctx.user, name: input.name })),
  }),
  deep: t.router({ inner: t.router({ get: open.query(() => 'deep') }) }),
  watch: t.router({
    count: open.input(z.object({ to: z.number(), lastEventId: z.string().optional() }))
      .subscription(async function* ({ input }) {
        for (let n = Number(input.lastEventId ?? 0) + 1; n <= input.to; n++) {
          yield tracked(String(n), { n, at: AT })
        }
      }),
    items: open.subscription(async function* () {
      yield { at: AT }
      yield tracked('x', 1)
      yield undefined
    }),
    breaks: open.subscription(async function* () {
      yield 1
      throw new TRPCError({ code: 'NOT_FOUND', message: 'it went away' })
    }),
    crashes: open.subscription(async function* () {
      yield 1
      throw new Error('the secret of the database')
    }),
    mine: signedIn.input(z.object({ n: z.number() })).subscription(async function* ({ ctx }) {
      yield ctx.user
    }),
  }),
})

const server = createHTTPServer({
  router,
  basePath: '/trpc/',
  maxBatchSize: 50,
  createContext: ({ req }) => ({ user: req.headers.authorization === 'Bearer good' ? 'ada' : null }),
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.on('end', () => process.exit(0)).resume()
