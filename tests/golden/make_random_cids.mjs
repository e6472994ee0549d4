// Makes random_cids.json with the JavaScript UnixFS importer: npm install ipfs-unixfs-importer@17.1.1,
// then node make_random_cids.mjs > random_cids.json
//
// A case's bytes are SHAKE-256 of its number as text, as long as its size.
import { createHash } from 'node:crypto'
import { importBytes } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'

const KINDS = [[0, false], [1, true], [1, false]]
const COUNT = 300

let state = 20250101
function upTo (limit) {
  // Park and Miller's generator: the same cases each time.
  state = (state * 48271) % 2147483647
  return state % (limit + 1)
}

const store = { put: async (cid) => cid }
const cases = []
for (let number = 0; number < COUNT; number++) {
  const [version, rawLeaves] = KINDS[number % 3]
  const width = 2 + upTo(12)
  const chunk = 1 + upTo(900)
  // Around whole trees of one to three levels, where layouts differ; and anywhere.
  const tree = chunk * width ** (1 + upTo(2))
  const size = Math.min(300000, upTo(3) === 0 ? upTo(60000) : Math.max(0, tree * upTo(3) + [-chunk, -1, 0, 1, chunk][upTo(4)]))
  const bytes = size === 0 ? new Uint8Array() : createHash('shake256', { outputLength: size }).update(String(number)).digest()
  const { cid } = await importBytes(bytes, store, {
    cidVersion: version,
    rawLeaves,
    chunker: fixedSize({ chunkSize: chunk }),
    layout: balanced({ maxChildrenPerNode: width }),
    wrapWithDirectory: false
  })
  cases.push([size, chunk, width, version, rawLeaves, cid.toString()])
}
console.log(`[\n${cases.map((entry) => JSON.stringify(entry)).join(',\n')}\n]`)
