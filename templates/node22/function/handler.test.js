'use strict'
const assert = require('node:assert')
const test = require('node:test')
const handler = require('./handler')

test('answers with what it was sent', async () => {
  const answer = {}
  const context = { status: () => context, succeed: (value) => Object.assign(answer, value) }
  await handler({ body: 'hi' }, context)
  assert.equal(answer.body, 'hi')
})
