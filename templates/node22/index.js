'use strict'
// The HTTP server around the handler. The watchdog starts it, waits until it listens, and is its only client.

const http = require('node:http')
const { readConfig } = require('./runtime/config')
const { loadHandler } = require('./runtime/load')
const { createListener } = require('./runtime/listener')

async function main() {
  const config = readConfig(process.env)
  const handler = await loadHandler(`${__dirname}/function`)
  const server = http.createServer(createListener(handler, config))
  // The watchdog keeps connections open and has the deadlines: here nothing may end one, or a call would be lost.
  server.keepAliveTimeout = 0
  server.requestTimeout = 0
  shutDownOn('SIGTERM', server)
  server.listen(config.listen)
}

/** After the signal the calls in flight get their answers, each connection closes with its last one, and the process ends. */
function shutDownOn(signal, server) {
  const closeIdle = () => setImmediate(() => server.listening || server.closeIdleConnections())
  server.on('request', (_, res) => res.once('close', closeIdle))
  process.once(signal, () => server.close(() => process.exit(0)))
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
