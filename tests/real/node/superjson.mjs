// The real superjson, a line of JSON in, a line out: {"write": description} or {"read": payload}.
import readline from 'node:readline'
import superjson from 'superjson'
import { build, describe } from './values.mjs'

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { write, read } = JSON.parse(line)
  const answer = write ? superjson.serialize(build(write)) : describe(superjson.deserialize(read))
  console.log(JSON.stringify(answer))
}
