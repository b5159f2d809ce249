// better-auth's own client against a wit server: node auth_client.mjs URL
import assert from 'node:assert/strict'
import { createAuthClient } from 'better-auth/client'
import { twoFactorClient, usernameClient } from 'better-auth/client/plugins'
import { base32 } from '@better-auth/utils/base32'

const url = process.argv[2]
const password = 'correct horse battery'

/** A client with the cookies and the Origin of a browser's page. */
function browser(options = {}) {
  const cookies = new Map()
  const customFetchImpl = async (address, init) => {
    const headers = new Headers(init?.headers)
    headers.set('origin', url)
    if (cookies.size) headers.set('cookie', [...cookies].map((pair) => pair.join('=')).join('; '))
    const answer = await fetch(address, { ...init, headers, redirect: 'manual' })
    for (const line of answer.headers.getSetCookie()) {
      const [pair] = line.split(';')
      const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]
      if (/Max-Age=0/.test(line)) cookies.delete(name)
      else cookies.set(name, value)
    }
    return answer
  }
  const client = createAuthClient({
    baseURL: url,
    plugins: [usernameClient(), twoFactorClient(options)],
    fetchOptions: { customFetchImpl },
  })
  return { client, cookies }
}

/** The data of an answer that must have worked. */
async function fine(promise) {
  const { data, error } = await promise
  assert.equal(error, null, JSON.stringify(error))
  return data
}

async function refused(promise, status, code) {
  const { data, error } = await promise
  assert.equal(data, null)
  assert.deepEqual([error.status, error.code], [status, code])
}

const { client, cookies } = browser()
const email = 'client@example.org'
const made = await fine(
  client.signUp.email({ email, password, name: 'A Client', username: 'Client.One', bio: 'b' }),
)
assert.equal(made.user.username, 'client.one')
assert.ok(made.user.createdAt instanceof Date)
let session = await fine(client.getSession())
assert.equal(session.session.token, made.token)
assert.ok(session.session.expiresAt instanceof Date)

await refused(
  client.signUp.email({ email, password, name: 'x', username: 'other' }),
  422, 'USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL',
)
assert.deepEqual(await fine(client.isUsernameAvailable({ username: 'client.one' })), { available: false })
assert.deepEqual(await fine(client.isUsernameAvailable({ username: 'nobody' })), { available: true })

await fine(client.updateUser({ name: 'Another Name', username: 'client.two' }))
session = await fine(client.getSession())
assert.equal(session.user.name, 'Another Name')

const second = browser()
await refused(second.client.signIn.email({ email, password: 'wrong password' }), 401, 'INVALID_EMAIL_OR_PASSWORD')
await fine(second.client.signIn.username({ username: 'Client.Two', password }))
let sessions = await fine(client.listSessions())
assert.equal(sessions.length, 2)
const other = sessions.find((entry) => entry.token !== session.session.token)
await fine(client.revokeSession({ token: other.token }))
assert.equal(await fine(second.client.getSession()), null)

await fine(second.client.signIn.email({ email, password, rememberMe: false }))
await fine(client.revokeOtherSessions())
assert.equal(await fine(second.client.getSession()), null)

await fine(client.changePassword({ currentPassword: password, newPassword: `${password}!`, revokeOtherSessions: true }))
await fine(client.changePassword({ currentPassword: `${password}!`, newPassword: password }))
assert.equal((await fine(client.listAccounts()))[0].providerId, 'credential')
await fine(client.requestPasswordReset({ email, redirectTo: '/reset' }))
await fine(client.sendVerificationEmail({ email, callbackURL: '/' }))
await refused(client.resetPassword({ newPassword: password, token: 'x' }), 400, 'INVALID_TOKEN')
await refused(client.verifyEmail({ query: { token: 'x' } }), 401, 'INVALID_TOKEN')
const social = await fine(client.signIn.social({ provider: 'github', callbackURL: '/', disableRedirect: true }))
assert.ok(social.url.startsWith('https://github.com/login/oauth/authorize?'))

// the second factor
const { totpURI, backupCodes } = await fine(client.twoFactor.enable({ password }))
const seed = new URL(totpURI).searchParams.get('secret')
const bytes = base32.decode(seed)
const code = async (ahead = 0) => {
  const key = await crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-1' }, false, ['sign'])
  const counter = new DataView(new ArrayBuffer(8))
  counter.setBigUint64(0, BigInt(Math.floor(Date.now() / 30000) + ahead))
  const mac = new DataView(await crypto.subtle.sign('HMAC', key, counter.buffer))
  const number = mac.getUint32(mac.getUint8(19) & 15) & 0x7fffffff
  return String(number % 1000000).padStart(6, '0')
}
await refused(client.twoFactor.verifyTotp({ code: '000000' }), 401, 'INVALID_CODE')
await fine(client.twoFactor.verifyTotp({ code: await code() }))
assert.equal((await fine(client.getSession())).user.twoFactorEnabled, true)

let asked = 0
const third = browser({ onTwoFactorRedirect: () => void asked++ })
const step = await fine(third.client.signIn.username({ username: 'client.two', password }))
assert.equal(step.twoFactorRedirect, true)
assert.equal(asked, 1)
assert.equal(await fine(third.client.getSession()), null)
await fine(third.client.twoFactor.verifyTotp({ code: await code(1) }))
assert.equal((await fine(third.client.getSession())).user.username, 'client.two')
const fourth = browser()
await fine(fourth.client.signIn.email({ email, password }))
await fine(fourth.client.twoFactor.verifyBackupCode({ code: backupCodes[3] }))
assert.equal((await fine(fourth.client.twoFactor.generateBackupCodes({ password }))).backupCodes.length, 10)
await fine(fourth.client.twoFactor.disable({ password }))

// the session as a web app watches it
await client.useSession.get().refetch()
assert.equal(client.useSession.get().data.user.username, 'client.two')
await fine(client.signOut())
assert.equal(await fine(client.getSession()), null)
assert.deepEqual([...cookies.keys()], ['better-auth.state'])
console.log('all fine')
process.exit(0)
