// A real better-auth server to compare with: node auth_server.mjs PORT ORIGIN
// GET /mails lists the links that it would have sent.
import http from 'node:http'
import { betterAuth } from 'better-auth'
import { memoryAdapter } from 'better-auth/adapters/memory'
import { toNodeHandler } from 'better-auth/node'
import { twoFactor, username } from 'better-auth/plugins'

const [port, origin] = process.argv.slice(2)
const mails = []
const optional = { type: 'string', required: false }
const auth = betterAuth({
  baseURL: origin,
  secret: 'a secret of at least thirty-two characters',
  logger: { disabled: true },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  database: memoryAdapter({ user: [], session: [], account: [], verification: [], twoFactor: [] }),
  emailAndPassword: {
    enabled: true,
    sendResetPassword: async ({ url }) => void mails.push(url),
  },
  emailVerification: {
    autoSignInAfterVerification: true,
    sendVerificationEmail: async ({ url }) => void mails.push(url),
  },
  session: {
    expiresIn: 30 * 86400, updateAge: 86400, cookieCache: { enabled: true, maxAge: 300 },
  },
  user: {
    changeEmail: {
      enabled: true,
      sendChangeEmailConfirmation: async ({ url }) => void mails.push(url),
    },
    additionalFields: {
      bio: optional, location: optional, website: optional, avatarUrl: optional,
    },
  },
  plugins: [username({ maxUsernameLength: 39 }), twoFactor({ issuer: 'wit' })],
  socialProviders: process.env.WITH_GITHUB
    ? { github: { clientId: 'id', clientSecret: 'secret' } }
    : {},
})
const handler = toNodeHandler(auth)

http
  .createServer((request, response) => {
    if (request.url !== '/mails') return handler(request, response)
    response.end(JSON.stringify(mails))
  })
  .listen(Number(port), '127.0.0.1', () => console.log('listening'))
