// isomorphic-git against a wit server: node client.mjs COMMAND DIR URL TOKEN [REF]
import fs from 'node:fs'
import git from 'isomorphic-git'
import http from 'isomorphic-git/http/node'

const [command, dir, url, token, ref] = process.argv.slice(2)
const onAuth = () => ({ username: 'x-access-token', password: token })
const onAuthFailure = () => ({ cancel: true })
const common = { fs, http, dir, url, onAuth, onAuthFailure }

const commands = {
  clone: () => git.clone({ ...common, ref, singleBranch: false }),
  shallow: () => git.clone({ ...common, ref, depth: 1, singleBranch: true }),
  fetch: () => git.fetch({ ...common, remote: 'origin', tags: true }),
  push: () => git.push({ ...common, ref, remoteRef: ref, force: false }),
  delete: () => git.push({ ...common, ref, remoteRef: ref, delete: true }),
  refs: () => git.listServerRefs({ http, url, onAuth, onAuthFailure, symrefs: true }),
}

try {
  const result = await commands[command]()
  console.log(JSON.stringify(result ?? null))
} catch (error) {
  console.error(`${error.code}: ${error.message}`)
  process.exit(1)
}
