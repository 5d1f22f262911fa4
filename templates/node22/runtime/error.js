'use strict'

/** What is wrong with a request, and the status that says so. */
class HttpError extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

module.exports = { HttpError }
