'use strict'
const { readBody } = require('./body')
const { Context } = require('./context')
const { HttpError } = require('./error')
const { send } = require('./send')

/** The function that answers requests by calling the handler. */
function createListener(handler, config) {
  return (req, res) => answer(handler, config, req, res).catch((error) => failed(req, res, error))
}

async function answer(handler, config, req, res) {
  const event = await readEvent(req, config)
  const context = new Context()
  call(handler, event, context)
  const { value, error, failed } = await context.outcome
  if (failed) console.error(error)
  await send(res, context, failed ? describe(error) : value)
}

async function readEvent(req, config) {
  const [path, query] = split(req.url)
  return {
    body: await readBody(req, config),
    headers: req.headers,
    method: req.method,
    query: readQuery(query),
    path,
  }
}

function split(url) {
  const mark = url.indexOf('?')
  return mark < 0 ? [url, ''] : [url.slice(0, mark), url.slice(mark + 1)]
}

/** A name that is there more than once has an array of its values. */
function readQuery(text) {
  const query = {}
  if (text === '') return query
  for (const [name, value] of new URLSearchParams(text)) {
    const before = Object.hasOwn(query, name) ? [query[name]].flat() : []
    const values = [...before, value]
    // Not an assignment: the name may be "__proto__".
    Object.defineProperty(query, name, {
      value: values.length === 1 ? value : values,
      enumerable: true,
      writable: true,
      configurable: true,
    })
  }
  return query
}

/** A handler answers through its context, its result, or, when it names a third parameter, a callback. */
async function call(handler, event, context) {
  const callback = (error, value) => (error ? context.fail(error) : context.succeed(value))
  try {
    const value = await handler(event, context, callback)
    const waitsForCallback = handler.length > 2 && value === undefined
    if (!context.settled && !waitsForCallback) context.succeed(value)
  } catch (error) {
    context.crash(error)
  }
}

/** What the caller reads about an error: its message, not its stack. */
function describe(error) {
  return error instanceof Error ? String(error) : error
}

/** Answers when the request could not be read or the answer could not be sent. */
function failed(req, res, error) {
  const callerLeft = error.code === 'ECONNRESET' || error.code === 'ERR_STREAM_PREMATURE_CLOSE'
  const status = error instanceof HttpError ? error.status : 500
  if (status === 500) console.error(callerLeft ? `${req.method} ${req.url}: the caller went away` : error)
  if (res.headersSent) return res.destroy()
  for (const name of res.getHeaderNames()) res.removeHeader(name)
  res.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' })
  res.end(status === 500 ? 'Internal Server Error' : error.message)
}

module.exports = { createListener }
