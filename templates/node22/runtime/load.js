'use strict'
const fs = require('node:fs')
const path = require('node:path')
const { pathToFileURL } = require('node:url')

const needsImport = new Set(['ERR_REQUIRE_ESM', 'ERR_REQUIRE_ASYNC_MODULE'])

/** The handler function of the folder: CommonJS or ES module, as `module.exports`, `default` or `handler`. */
async function loadHandler(folder) {
  const file = ['handler.js', 'handler.mjs', 'handler.cjs'].map((name) => path.join(folder, name)).find(fs.existsSync)
  if (!file) throw new Error(`no handler.js in ${folder}`)
  const loaded = await load(file)
  const handler = [loaded, loaded?.default, loaded?.handler].find((value) => typeof value === 'function')
  if (!handler) throw new Error(`${file} exports no function`)
  return handler
}

async function load(file) {
  try {
    return require(file)
  } catch (error) {
    if (!needsImport.has(error.code)) throw error
    return import(pathToFileURL(file))
  }
}

module.exports = { loadHandler }
