"""Telethon against a simulated Telegram; see clients_test.go for what goes in
and comes out. Run: python3 telethon.py CONFIG.json, with telethon installed."""

import asyncio
import base64
import json
import logging
import os
import sys
import urllib.request

sys.path.remove(os.path.dirname(os.path.abspath(__file__)))  # this file is not the library
from telethon import TelegramClient, events
from telethon.crypto import AuthKey, rsa
from telethon.sessions import StringSession


def code(cfg, who):
    with urllib.request.urlopen(f"{cfg['control']}/codes?phone={who['phone']}") as answer:
        return json.load(answer)["code"]


async def connect(cfg, who):
    session = StringSession()
    session.set_dc(cfg["dc"], cfg["host"], cfg["port"])
    if "auth_key" in who:
        session.auth_key = AuthKey(base64.b64decode(who["auth_key"]))
    tg = TelegramClient(session, 1, "x", connection_retries=3)
    if "auth_key" in who:
        await tg.connect()
    else:
        await tg.start(phone=who["phone"], code_callback=lambda: code(cfg, who), password=lambda: who.get("password"))
    return tg, await tg.get_me()


async def main():
    with open(sys.argv[1]) as f:
        cfg = json.load(f)
    logging.basicConfig(level=cfg.get("debug", "ERROR"))
    rsa.add_key(cfg["public_key"], old=False)
    ann, me = await connect(cfg, cfg["me"])
    bob, _ = await connect(cfg, cfg["peer"])
    got = asyncio.get_running_loop().create_future()

    @bob.on(events.NewMessage(incoming=True))
    async def _(event):
        if not got.done():
            got.set_result(event.raw_text)

    found = await ann.get_entity(cfg["peer"]["username"])
    sent = set()
    for i in range(0, cfg["sends"], cfg["in_flight"]):
        some = range(i, min(i + cfg["in_flight"], cfg["sends"]))
        for m in await asyncio.gather(*(ann.send_message(found, f"{cfg['text']} {k}") for k in some)):
            sent.add(m.id)
    history = await ann.get_messages(found, limit=5)
    out = {
        "me": me.id, "found": found.id, "sent": len(sent),
        "history": [m.message for m in history], "update": await got if cfg["sends"] else "",
    }
    await ann.disconnect()
    await bob.disconnect()
    print(json.dumps(out))


asyncio.run(main())
