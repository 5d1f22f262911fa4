'use strict'

const gateway = process.env.gateway_url || 'http://gateway.openfaas:8080'
const TIMEOUT_MS = 10_000

/** The notices whose title has `?q=` in it, as it is written or as pinyin. */
module.exports = async (event, context) => {
  const query = String(event.query.q || '').trim().toLowerCase()
  if (!query) return context.status(400).succeed({ error: 'say what to look for: ?q=beijing' })
  try {
    const notices = JSON.parse(await call('notice'))
    const titles = await Promise.all(notices.map(({ title }) => pinyin(title)))
    const found = notices.filter(({ title }, n) => matches(title, query) || matches(titles[n], query))
    return context.succeed({ query, found })
  } catch (error) {
    return context.status(502).succeed({ error: error.message })
  }
}

const pinyin = (text) => call('pinyin', { method: 'POST', body: text, headers: { 'Content-Type': 'text/plain' } })

/** Spaces do not count, so that "beijing" finds "bei jing". */
const matches = (text, query) => squeeze(text).includes(squeeze(query))
const squeeze = (text) => text.toLowerCase().replace(/\s+/g, '')

async function call(name, options = {}) {
  const url = `${gateway}/function/${name}`
  let answer
  try {
    answer = await fetch(url, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) })
  } catch (error) {
    throw new Error(`${name} cannot be called: ${error.cause?.message || error.message}`)
  }
  const body = await answer.text()
  if (!answer.ok) throw new Error(`${name} answered ${answer.status}: ${body.trim()}`)
  return body
}
