'use strict'
const assert = require('node:assert')
const { Agent, request } = require('node:http')
const test = require('node:test')
const zlib = require('node:zlib')
const { start } = require('./support')

const echo = `module.exports = async (event) => ({ ...event, kind: Buffer.isBuffer(event.body) ? 'buffer' : typeof event.body })`
const json = { 'content-type': 'application/json' }
const octets = { 'content-type': 'application/octet-stream' }

async function echoed(server, options, body) {
  const answer = await server.call(options, body)
  assert.equal(answer.status, 200, answer.body.toString())
  return JSON.parse(answer.body)
}

test('the event has method, path, query, headers and body', async (t) => {
  const server = await start(t, echo)
  const event = await echoed(server, { path: '/a/b%20c?x=1&y=2&y=3&__proto__=z', method: 'PATCH', headers: { 'X-Thing': 'v' } }, 'hello')
  assert.equal(event.method, 'PATCH')
  assert.equal(event.path, '/a/b%20c')
  assert.deepEqual({ x: event.query.x, y: event.query.y }, { x: '1', y: ['2', '3'] })
  assert.equal(event.headers['x-thing'], 'v')
  assert.equal(event.body, 'hello')
})

test('the body follows the content type', async (t) => {
  const server = await start(t, echo)
  assert.deepEqual((await echoed(server, { headers: json }, '{"a":[1]}')).body, { a: [1] })
  assert.equal((await echoed(server, { headers: { 'content-type': 'application/x-www-form-urlencoded' } }, 'a=1')).body, 'a=1')
  assert.equal((await echoed(server, { headers: octets }, Buffer.from([0, 255]))).kind, 'buffer')
  assert.equal((await echoed(server, { headers: { ...json, 'content-encoding': 'gzip' } }, zlib.gzipSync('[7]'))).body[0], 7)
  assert.deepEqual((await echoed(server, {})).body, {})
})

test('a body that cannot be read is the fault of the caller', async (t) => {
  const server = await start(t, echo, { MAX_JSON_SIZE: '10b', MAX_RAW_SIZE: '0.5kb' })
  assert.equal((await server.call({ headers: json }, '{"a":')).status, 400)
  assert.equal((await server.call({ headers: json }, '"0123456789"')).status, 413)
  assert.equal((await server.call({ headers: octets }, Buffer.alloc(512))).status, 200)
  assert.equal((await server.call({ headers: octets }, Buffer.alloc(513))).status, 413)
  assert.equal((await server.call({ headers: { ...octets, 'transfer-encoding': 'chunked' } }, Buffer.alloc(513))).status, 413)
  assert.equal((await server.call({ headers: { 'content-encoding': 'gzip' } }, zlib.gzipSync(Buffer.alloc(5000)))).status, 413)
  assert.equal((await server.call({ headers: { 'content-encoding': 'gzip' } }, 'no gzip')).status, 400)
  assert.equal((await server.call({ headers: { 'content-encoding': 'rot13' } }, 'x')).status, 415)
})

test('a caller that goes away is told in the log and bothers nobody else', async (t) => {
  const server = await start(t, echo)
  for (const headers of [octets, { ...octets, 'content-encoding': 'gzip' }]) {
    const call = request({ ...server.place, method: 'PUT', path: '/left', headers: { ...headers, 'content-length': 100 } })
    call.on('error', () => {})
    call.write(zlib.gzipSync('x').subarray(0, 12), () => call.destroy())
    await new Promise((resolve) => call.once('close', resolve))
  }
  await server.logged(/PUT \/left: the caller went away/)
  assert.equal((await echoed(server, {}, 'hello')).body, 'hello')
})

test('what is left of a body that is too large does not hold up the connection', async (t) => {
  const server = await start(t, echo, { MAX_RAW_SIZE: '1kb' })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  for (const encoding of ['identity', 'gzip']) {
    const body = zlib.gzipSync(require('node:crypto').randomBytes(3_000_000))
    const options = { agent, headers: { ...octets, 'content-encoding': encoding, 'transfer-encoding': 'chunked' } }
    assert.equal((await server.call(options, body)).status, 413)
    assert.equal((await server.call({ agent }, 'small')).status, 200)
  }
})

test('RAW_BODY gives the bytes, whatever they are', async (t) => {
  const server = await start(t, `module.exports = async (event) => event.body`, { RAW_BODY: 'true' })
  assert.equal((await server.call({ headers: json }, '{"a" :1}')).body.toString(), '{"a" :1}')
})

test('every method reaches the handler', async (t) => {
  const server = await start(t, `module.exports = async (event, context) => context.headers({ 'X-Method': event.method }).succeed('x')`)
  for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']) {
    const answer = await server.call({ method })
    assert.equal(answer.headers['x-method'], method)
    assert.equal(answer.headers['content-length'], '1')
  }
})

test('status, headers and kinds of answers', async (t) => {
  const answers = `{
    string: 'é', number: 0, none: undefined, nothing: null, array: [1], bytes: Buffer.from([0, 1]),
    stream: (async function* () { yield 'a'; yield Buffer.from('b') })(),
  }`
  const server = await start(
    t,
    `module.exports = (event, context) => context.status(201).headers({ 'X-A': ['1', '2'] }).succeed((${answers})[event.query.kind])`,
  )
  const expected = {
    string: ['é', 'text/plain; charset=utf-8'],
    number: ['0', 'application/json; charset=utf-8'],
    none: ['', undefined],
    nothing: ['', undefined],
    array: ['[1]', 'application/json; charset=utf-8'],
    bytes: ['\0\x01', 'application/octet-stream'],
    stream: ['ab', 'application/octet-stream'],
  }
  for (const [kind, [body, type]] of Object.entries(expected)) {
    const answer = await server.call({ path: `/?kind=${kind}` })
    assert.deepEqual([answer.status, answer.body.toString(), answer.headers['content-type']], [201, body, type], kind)
    assert.equal(answer.headers['x-a'], '1, 2')
  }
})

test('a handler that throws answers 500, with the stack in the log', async (t) => {
  const server = await start(
    t,
    `module.exports = (event, context) => {
      if (event.path === '/sync') throw new Error('sync trouble')
      if (event.path === '/status') context.status(204)
      if (event.path === '/own') context.status(422)
      if (event.path === '/fail') return context.fail({ why: 'because' })
      if (event.path === '/bad-status') return context.status(9999).succeed('x')
      if (event.path === '/bad-header') return context.headers({ 'X-A': 'a\\nb' }).succeed('x')
      return Promise.reject(new Error('async trouble'))
    }`,
  )
  const status = async (path) => (await server.call({ path })).status
  const answer = await server.call({ path: '/sync' })
  assert.deepEqual([answer.status, answer.body.toString()], [500, 'Error: sync trouble'])
  assert.equal(await status('/async'), 500)
  assert.equal(await status('/status'), 500)
  assert.equal(await status('/own'), 422)
  assert.equal(await status('/bad-status'), 500)
  assert.equal(await status('/bad-header'), 500)
  assert.equal((await server.call({ path: '/fail' })).body.toString(), '{"why":"because"}')
  await server.logged(/sync trouble\n +at /)
  await server.logged(/async trouble\n +at /)
})

test('a stream that breaks breaks the answer', async (t) => {
  const server = await start(t, `module.exports = async () => (async function* () { yield 'a'; throw new Error('cut') })()`)
  await assert.rejects(server.call())
  await server.logged(/cut/)
})

test('a callback, an ES module, and a handler that does not load', async (t) => {
  const late = await start(t, `module.exports = (event, context, done) => { setTimeout(() => done(null, 'late'), 20) }`)
  assert.equal((await late.call()).body.toString(), 'late')
  const module = await start(t, `export default async () => 'module'`, {}, 'handler.mjs')
  assert.equal((await module.call()).body.toString(), 'module')
  const broken = await start(t, `module.exports = async () => {`)
  assert.equal((await broken.exit).code, 1)
  assert.match(broken.log, /SyntaxError/)
  const badSize = await start(t, echo, { MAX_RAW_SIZE: 'lots' })
  assert.equal((await badSize.exit).code, 1)
  assert.match(badSize.log, /MAX_RAW_SIZE: "lots"/)
})

test('a socket is as good as a port', async (t) => {
  const server = await start(t, echo, { upstream_url: 'unix:', http_port: '1' })
  assert.ok(server.place.socketPath)
  assert.equal((await echoed(server, { path: '/a' }, 'hello')).body, 'hello')
  const exited = server.exit
  server.child.kill('SIGTERM')
  assert.deepEqual(await exited, { code: 0, signal: null })
})

test('SIGTERM lets the call in flight end, then exits 0', async (t) => {
  const server = await start(
    t,
    `module.exports = () => new Promise((resolve) => { process.once('SIGTERM', () => setTimeout(resolve, 200, 'done')); console.log('called') })`,
  )
  const answer = server.call({ agent: new Agent({ keepAlive: true }) })
  await server.logged(/called/)
  server.child.kill('SIGTERM')
  assert.equal((await answer).body.toString(), 'done')
  assert.deepEqual(await server.exit, { code: 0, signal: null })
})
