'use strict'
const { Readable } = require('node:stream')
const { pipeline } = require('node:stream/promises')

const text = 'text/plain; charset=utf-8'
const binary = 'application/octet-stream'
const json = 'application/json; charset=utf-8'

/** Sends what the handler answered. Streams and async iterables are sent as they come. */
async function send(res, context, value) {
  res.statusCode = Number(context.statusCode)
  setHeaders(res, context.headerValues)
  if (isStream(value)) return stream(res, value)
  const [body, type] = encode(value)
  if (body.length > 0) setType(res, type)
  if (mayHaveBody(res.statusCode) && !isHeadWithLength(res)) res.setHeader('Content-Length', body.length)
  res.end(body)
}

/** How the body travels is for the server to say, not for the handler. */
function setHeaders(res, values) {
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== null && name.toLowerCase() !== 'transfer-encoding') res.setHeader(name, value)
  }
}

function encode(value) {
  if (value === undefined || value === null) return [Buffer.alloc(0), text]
  if (typeof value === 'string') return [Buffer.from(value), text]
  if (value instanceof ArrayBuffer) return [Buffer.from(value), binary]
  if (ArrayBuffer.isView(value)) return [Buffer.from(value.buffer, value.byteOffset, value.byteLength), binary]
  return [Buffer.from(JSON.stringify(value) ?? ''), json]
}

function isStream(value) {
  return typeof value?.[Symbol.asyncIterator] === 'function'
}

async function stream(res, value) {
  setType(res, binary)
  res.flushHeaders()
  await pipeline(value instanceof Readable ? value : Readable.from(value, { objectMode: false }), res)
}

function setType(res, type) {
  if (!res.hasHeader('Content-Type')) res.setHeader('Content-Type', type)
}

function mayHaveBody(status) {
  return status >= 200 && status !== 204 && status !== 304
}

/** The answer to HEAD may name the length of a body that it does not have. */
function isHeadWithLength(res) {
  return res.req.method === 'HEAD' && res.hasHeader('Content-Length')
}

module.exports = { send }
