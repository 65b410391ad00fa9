// GramJS against a simulated Telegram; see clients_test.go for what goes in and
// comes out. Run: node gramjs.mjs CONFIG.json, with TEST_NODE_MODULES naming
// the node_modules folder that holds telegram.
import { createPublicKey, createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(process.env.TEST_NODE_MODULES + '/x.js')
const { TelegramClient, Logger } = require('telegram')
const { PromisedNetSockets } = require('telegram/extensions')
const { StringSession } = require('telegram/sessions')
const { NewMessage } = require('telegram/events')
const { AuthKey } = require('telegram/crypto/AuthKey')
const { _serverKeys } = require('telegram/crypto/RSA')
const bigInt = require('big-integer')

const cfg = JSON.parse(readFileSync(process.argv[2], 'utf8'))

// trust adds a server key: the fingerprint is the lower half of the SHA-1 of
// its modulus and exponent as TL bytes.
function trust(pem) {
  const jwk = createPublicKey(pem).export({ format: 'jwk' })
  const n = Buffer.from(jwk.n, 'base64url')
  const e = Buffer.from(jwk.e, 'base64url')
  const tl = Buffer.concat([Buffer.from([254, n.length & 255, n.length >> 8, 0]), n, Buffer.from([e.length]), e])
  const fingerprint = createHash('sha1').update(tl).digest().readBigInt64LE(12)
  _serverKeys.set(fingerprint.toString(), { n: bigInt(n.toString('hex'), 16), e: Number('0x' + e.toString('hex')) })
}

// It dials port 80 or 443 only.
class Socket extends PromisedNetSockets {
  connect(_port, _ip, ...rest) { return super.connect(cfg.port, cfg.host, ...rest) }
}

const code = async (who) =>
  (await (await fetch(`${cfg.control}/codes?phone=${who.phone}`)).json()).code

async function open(who) {
  const session = new StringSession('')
  session.setDC(cfg.dc, cfg.host, 443) // see Socket; StringSession cannot hold a port above 32767
  if (who.auth_key) {
    const key = new AuthKey()
    await key.setKey(Buffer.from(who.auth_key, 'base64'))
    session.setAuthKey(key)
  }
  const tg = new TelegramClient(session, 1, 'x', {
    networkSocket: Socket, connectionRetries: 3, baseLogger: new Logger(cfg.debug ?? 'error'),
  })
  if (who.auth_key) {
    await tg.connect()
  } else {
    await tg.start({
      phoneNumber: who.phone, phoneCode: () => code(who), password: async () => who.password,
      onError: (e) => { throw e },
    })
  }
  return [tg, await tg.getMe()]
}

trust(cfg.public_key)
const [ann, me] = await open(cfg.me)
const [bob, peer] = await open(cfg.peer)
const got = new Promise((resolve) => bob.addEventHandler((e) => resolve(e.message.message), new NewMessage({ incoming: true })))
const found = await ann.getEntity(cfg.peer.username)
const sent = []
const one = async (i) => { sent[i] = (await ann.sendMessage(found, { message: `${cfg.text} ${i}` })).id }
for (let i = 0; i < cfg.sends; i += cfg.in_flight) {
  await Promise.all(Array.from({ length: Math.min(cfg.in_flight, cfg.sends - i) }, (_, k) => one(i + k)))
}
const history = await ann.getMessages(found, { limit: 5 })
const out = {
  me: Number(me.id), found: Number(found.id), sent: new Set(sent).size,
  history: history.map((m) => m.message), update: cfg.sends > 0 ? await got : '',
}
await ann.destroy()
await bob.destroy()
console.log(JSON.stringify(out))
process.exit(0) // its update loop sleeps on
