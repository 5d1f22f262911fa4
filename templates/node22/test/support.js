'use strict'
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const http = require('node:http')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')

const template = path.join(__dirname, '..')

/** Starts the template's server around a handler, in a process and a folder of its own; on a port, unless `env` names a socket. */
async function start(t, source, env = {}, file = 'handler.js') {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'node22-'))
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }))
  fs.cpSync(path.join(template, 'index.js'), path.join(folder, 'index.js'))
  fs.cpSync(path.join(template, 'runtime'), path.join(folder, 'runtime'), { recursive: true })
  fs.mkdirSync(path.join(folder, 'function'))
  fs.writeFileSync(path.join(folder, 'function', file), source)
  const place = env.upstream_url ? { socketPath: path.join(folder, 'up.sock') } : { port: await freePort(), host: '127.0.0.1' }
  const told = place.port ? { http_port: place.port } : { upstream_url: `unix:${place.socketPath}` }
  const child = spawn(process.execPath, ['index.js'], { cwd: folder, env: { ...process.env, ...env, ...told } })
  t.after(() => child.kill('SIGKILL'))
  const server = { place, child, log: '', call: (options, body) => call(place, options, body) }
  server.exit = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })))
  for (const out of [child.stdout, child.stderr]) out.on('data', (data) => (server.log += data))
  server.logged = (pattern) => logged(server, pattern)
  await listening(place, child)
  return server
}

/** Waits until the log has what the pattern describes, or the process has ended without it. */
async function logged(server, pattern) {
  let ended = false
  server.exit.then(() => (ended = true))
  while (!pattern.test(server.log)) {
    if (ended) throw new Error(`${pattern} is not in the log:\n${server.log}`)
    await Promise.race([server.exit, once(server.child.stdout, 'data'), once(server.child.stderr, 'data')])
  }
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Waits until the server accepts connections, or its process has ended. */
async function listening(place, child) {
  while (child.exitCode === null && !(await accepts(place))) await new Promise((resolve) => setTimeout(resolve, 10))
}

function accepts({ socketPath, ...place }) {
  return new Promise((resolve) => {
    const socket = net.connect({ path: socketPath, ...place }, () => socket.destroy())
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  })
}

function call(place, options = {}, body = undefined) {
  return new Promise((resolve, reject) => {
    const req = http.request({ ...place, path: '/', method: body === undefined ? 'GET' : 'POST', ...options })
    req.once('error', reject)
    req.once('response', (res) => {
      const chunks = []
      res.on('data', (chunk) => chunks.push(chunk))
      res.once('error', reject)
      res.once('end', () => resolve({ status: res.statusCode, headers: res.headers, body: Buffer.concat(chunks) }))
    })
    req.end(body)
  })
}

module.exports = { start }
