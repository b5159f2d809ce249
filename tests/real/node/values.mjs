// JavaScript values described in JSON, both ways: [kind, content].
export function describe(value) {
  if (value === undefined) return ['undefined']
  if (typeof value === 'bigint') return ['bigint', String(value)]
  if (typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0))) {
    return ['number', Object.is(value, -0) ? '-0' : String(value)]
  }
  if (value === null || typeof value !== 'object') return ['plain', value]
  if (value instanceof Date) return ['Date', value.toISOString()]
  if (value instanceof Map) return ['map', [...value].map(([key, item]) => [describe(key), describe(item)])]
  if (value instanceof Set) return ['set', [...value].map(describe)]
  if (value instanceof RegExp) return ['regexp', String(value)]
  if (value instanceof URL) return ['URL', String(value)]
  if (value instanceof Error) return ['Error', value.name, value.message]
  if (ArrayBuffer.isView(value)) return ['typed-array', value.constructor.name, [...value]]
  if (Array.isArray(value)) return ['list', value.map(describe)]
  return ['object', Object.keys(value).sort().map((key) => [key, describe(value[key])])]
}

export function build([kind, content, more]) {
  switch (kind) {
    case 'undefined': return undefined
    case 'bigint': return BigInt(content)
    case 'number': return Number(content)
    case 'plain': return content
    case 'Date': return new Date(content)
    case 'map': return new Map(content.map(([key, item]) => [build(key), build(item)]))
    case 'set': return new Set(content.map(build))
    case 'regexp': return new RegExp(content.slice(1, content.lastIndexOf('/')), content.slice(content.lastIndexOf('/') + 1))
    case 'URL': return new URL(content)
    case 'Error': return Object.assign(new Error(more), { name: content })
    case 'typed-array': return new globalThis[content](more)
    case 'list': return content.map(build)
    case 'object': return Object.fromEntries(content.map(([key, item]) => [key, build(item)]))
  }
  throw new Error(`unknown kind ${kind}`)
}
