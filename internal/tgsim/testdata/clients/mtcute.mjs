// mtcute against a simulated Telegram; see clients_test.go for what goes in and
// comes out. Run: node mtcute.mjs CONFIG.json, with TEST_NODE_MODULES naming
// the node_modules folder that holds @mtcute/node.
import { readFileSync } from 'node:fs'

const from = (file) => import(`${process.env.TEST_NODE_MODULES}/@mtcute/${file}`)
const { TelegramClient, MemoryStorage } = await from('node/index.js')
const { NodeCryptoProvider, addPublicKey, writeStringSession } = await from('node/utils.js')

const cfg = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const dc = { id: cfg.dc, ipAddress: cfg.host, port: cfg.port }
const dcs = { main: dc, media: dc }

addPublicKey(new NodeCryptoProvider(), cfg.public_key)

const code = async (who) =>
  (await (await fetch(`${cfg.control}/codes?phone=${who.phone}`)).json()).code

async function open(who) {
  const tg = new TelegramClient({
    apiId: 1, apiHash: 'x', storage: new MemoryStorage(), defaultDcs: dcs, logLevel: cfg.debug ?? 1,
  })
  if (who.auth_key) {
    const session = writeStringSession({ version: 3, primaryDcs: dcs, authKey: Buffer.from(who.auth_key, 'base64') })
    return [tg, await tg.start({ session })]
  }
  return [tg, await tg.start({
    phone: who.phone, code: () => code(who), password: who.password, codeSentCallback: () => {},
  })]
}

const [ann, me] = await open(cfg.me)
const [bob, peer] = await open(cfg.peer)
// start() does not wait for the update loop; what comes before it is not told.
while (!bob._client.updates.updatesLoopActive) await new Promise((resolve) => setTimeout(resolve, 5))
const got = new Promise((resolve) => bob.onNewMessage.add((m) => resolve(m.text)))
const found = await ann.resolveUser(cfg.peer.username)
const sent = []
const one = async (i) => { sent[i] = (await ann.sendText(found, `${cfg.text} ${i}`)).id }
for (let i = 0; i < cfg.sends; i += cfg.in_flight) {
  await Promise.all(Array.from({ length: Math.min(cfg.in_flight, cfg.sends - i) }, (_, k) => one(i + k)))
}
const history = await ann.getHistory(found, { limit: 5 })
const out = {
  me: me.id, found: found.userId, sent: new Set(sent).size,
  history: history.map((m) => m.text), update: cfg.sends > 0 ? await got : '',
}
await ann.destroy()
await bob.destroy()
console.log(JSON.stringify(out))
