'use strict'
const zlib = require('node:zlib')
const { HttpError } = require('./error')

const decoders = {
  gzip: zlib.createGunzip,
  'x-gzip': zlib.createGunzip,
  deflate: zlib.createInflate,
  br: zlib.createBrotliDecompress,
}

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
  const { stream, decoded } = decode(req)
  if (!decoded && Number(req.headers['content-length']) > limit) throw tooLarge()
  const chunks = []
  let size = 0
  try {
    for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
      size += chunk.length
      if (size > limit) throw tooLarge()
      chunks.push(chunk)
    }
  } catch (error) {
    throw decoded && !(error instanceof HttpError) ? new HttpError(400, `the body cannot be decoded: ${error.message}`) : error
  }
  return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, size)
}

function decode(req) {
  const encoding = (req.headers['content-encoding'] || 'identity').toLowerCase()
  if (encoding === 'identity') return { stream: req, decoded: false }
  if (!Object.hasOwn(decoders, encoding)) throw new HttpError(415, `content encoding "${encoding}" is not supported`)
  const decoder = decoders[encoding]()
  req.on('error', (error) => decoder.destroy(error))
  return { stream: req.pipe(decoder), decoded: true }
}

module.exports = { readBody }
