// Uploads one file with the unmodified tus-js-client, in one of several ways, and prints the address it was given.
// node upload.mjs MODE ENDPOINT TOKEN EVIDENCE FILE; MODE is plain, creation, cut or parallel.
import { createReadStream } from 'node:fs'
import { Upload } from 'tus-js-client'

const [mode, endpoint, token, evidence, file] = process.argv.slice(2)
const ways = {
  plain: { chunkSize: 100_000 },
  creation: { uploadDataDuringCreation: true },
  cut: { chunkSize: 100_000 },
  parallel: { parallelUploads: 4 },
}

let cut = false
const upload = new Upload(createReadStream(file), {
  endpoint,
  headers: { Authorization: `Bearer ${token}` },
  metadata: { evidence, filename: 'photo.jpg' },
  retryDelays: [0, 200, 500],
  ...ways[mode],
  onChunkComplete: (_size, accepted) => {
    if (mode !== 'cut' || cut || accepted < 200_000) return
    cut = true
    upload.abort().then(() => setTimeout(() => upload.start(), 50))
  },
  onError: (error) => {
    console.error(String(error))
    process.exit(1)
  },
  onSuccess: () => {
    if (mode === 'cut' && !cut) process.exit(2)
    console.log(upload.url)
  },
})
upload.start()
