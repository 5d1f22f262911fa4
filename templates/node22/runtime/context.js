'use strict'

/** What the handler answers with. The first of `succeed` and `fail` counts; `outcome` is resolved then. */
class Context {
  #settle
  statusCode = 200
  headerValues = {}
  settled = false

  constructor() {
    this.outcome = new Promise((resolve) => (this.#settle = resolve))
  }

  /** Sets the status; without a value, returns it. */
  status(code) {
    if (code === undefined) return this.statusCode
    this.statusCode = code
    return this
  }

  /** Sets the headers; without a value, returns them. */
  headers(values) {
    if (values === undefined) return this.headerValues
    this.headerValues = values
    return this
  }

  succeed(value) {
    this.#finish({ value })
  }

  /** Answers with an error: 500, unless another status was set. */
  fail(error) {
    if (!this.settled && this.statusCode === 200) this.statusCode = 500
    this.#finish({ error, failed: true })
  }

  /** Answers for a handler that threw: never a success, whatever status it had set. */
  crash(error) {
    if (!this.settled && !(this.statusCode >= 400)) this.statusCode = 500
    this.#finish({ error, failed: true })
  }

  #finish(outcome) {
    if (this.settled && outcome.failed) console.error('failed after its answer:', outcome.error)
    this.settled = true
    this.#settle(outcome)
  }
}

module.exports = { Context }
