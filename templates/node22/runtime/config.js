'use strict'

const units = { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 }

/** The settings of a function, from its environment. Throws on a value that cannot be understood. */
function readConfig(env) {
  return {
    listen: readListen(env),
    rawBody: env.RAW_BODY === 'true' || env.RAW_BODY === '1',
    maxRawBytes: readSize('MAX_RAW_SIZE', env.MAX_RAW_SIZE || '10mb'),
    maxJsonBytes: readSize('MAX_JSON_SIZE', env.MAX_JSON_SIZE || '100kb'),
  }
}

/** Where to listen: on the socket that `upstream_url` names, else on a port. */
function readListen(env) {
  const url = env.upstream_url || ''
  return url.startsWith('unix:') ? { path: url.slice('unix:'.length) } : { port: readPort(env.http_port || '3000'), host: '127.0.0.1' }
}

function readPort(text) {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw new Error(`http_port: "${text}" is no port`)
  return port
}

/** "100kb", "1.5 MB" or "4096" as a number of bytes. */
function readSize(name, text) {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(b|kb|mb|gb)?\s*$/i.exec(text)
  if (!match) throw new Error(`${name}: "${text}" is no size; write it like 100kb or 10mb`)
  return Math.floor(Number(match[1]) * units[(match[2] || 'b').toLowerCase()])
}

module.exports = { readConfig }
