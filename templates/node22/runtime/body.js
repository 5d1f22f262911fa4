'use strict'
const { HttpError } = require('./error')

// The names of zlib's functions; few functions ever need zlib, and loading it takes time at the start.
const decoders = { gzip: 'createGunzip', 'x-gzip': 'createGunzip', deflate: 'createInflate', br: 'createBrotliDecompress' }

/**
 * The body of a request as the handler gets it: JSON as a value, text and forms as a string, all else as a Buffer.
 * A request without one has an empty object. With RAW_BODY it is a Buffer, whatever it is.
 */
async function readBody(req, config) {
  const type = mediaType(req)
  const json = isJson(type) && !config.rawBody
  const limit = json ? ['MAX_JSON_SIZE', config.maxJsonBytes] : ['MAX_RAW_SIZE', config.maxRawBytes]
  const bytes = hasBody(req) ? await readBytes(req, ...limit) : Buffer.alloc(0)
  if (config.rawBody) return bytes
  if (!hasBody(req)) return {}
  if (json) return parseJson(bytes)
  return isText(type) ? bytes.toString('utf8') : bytes
}

function hasBody(req) {
  return 'transfer-encoding' in req.headers || 'content-length' in req.headers
}

function mediaType(req) {
  return (req.headers['content-type'] || 'text/plain').split(';', 1)[0].trim().toLowerCase()
}

function isJson(type) {
  return type === 'application/json' || (type.startsWith('application/') && type.endsWith('+json'))
}

function isText(type) {
  return (
    type.startsWith('text/') ||
    type.endsWith('+xml') ||
    ['application/xml', 'application/javascript', 'application/x-www-form-urlencoded'].includes(type)
  )
}

function parseJson(bytes) {
  const text = bytes.toString('utf8').replace(/^\uFEFF/, '')
  if (text.trim() === '') return {}
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new HttpError(400, `the body is not valid JSON: ${error.message}`)
  }
}

async function readBytes(req, name, limit) {
  const tooLarge = () => new HttpError(413, `the body is larger than ${limit} bytes (${name})`)
  const encoding = (req.headers['content-encoding'] || 'identity').toLowerCase()
  if (encoding !== 'identity') return decode(req, encoding, { limit, tooLarge })
  if (Number(req.headers['content-length']) > limit) throw tooLarge()
  return collect(req, { limit, tooLarge })
}

async function decode(req, encoding, bounds) {
  if (!Object.hasOwn(decoders, encoding)) throw new HttpError(415, `content encoding "${encoding}" is not supported`)
  const decoder = require('node:zlib')[decoders[encoding]]()
  req.on('error', (error) => decoder.destroy(error))
  try {
    return await collect(req.pipe(decoder), bounds)
  } catch (error) {
    throw error instanceof HttpError ? error : new HttpError(400, `the body cannot be decoded: ${error.message}`)
  } finally {
    req.unpipe(decoder).resume()
    decoder.destroy()
  }
}

/** All that comes from a stream. By events, as they cost less than iterating. What is too large is read on, but not kept. */
function collect(stream, { limit, tooLarge }) {
  return new Promise((resolve, reject) => {
    const chunks = []
    let size = 0
    stream.on('data', (chunk) => {
      size += chunk.length
      if (size <= limit) return chunks.push(chunk)
      chunks.length = 0
      reject(tooLarge())
    })
    stream.once('end', () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)))
    stream.once('error', reject)
    stream.once('close', () => reject(Object.assign(new Error('the body broke off'), { code: 'ECONNRESET' })))
  })
}

module.exports = { readBody }
