// What better-auth reads of a session_data cookie: node session_cache.mjs SECRET COOKIES
import { getCookieCache } from 'better-auth/cookies'

const [secret, cookie] = process.argv.slice(2)
const found = await getCookieCache(new Headers({ cookie }), { secret, isSecure: false })
console.log(JSON.stringify(found))
