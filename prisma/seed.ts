import { randomInt } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import { env, publicUrl } from "../src/env.ts";
import { keyHash, mint } from "../src/server/apps/api-keys.ts";
import { registerApp } from "../src/server/apps/apps.ts";
import { openAccount, platformAccount } from "../src/server/ledger/accounts.ts";
import { beginAgreement, setLimit } from "../src/server/ledger/limits.ts";
import { transfer } from "../src/server/ledger/transfer.ts";
import { hashPassword } from "../src/server/people/passwords.ts";
import { type Database, type Tx, transaction } from "../src/server/platform/db.ts";
import { emit } from "../src/server/webhooks/outbox.ts";

/** The demo data: a developer with an app and keys, and a user who linked their wallet to it. */
const demoShape = z.object({
  base_url: z.string(),
  developer: z.object({ email: z.string(), password: z.string() }),
  user: z.object({ email: z.string(), password: z.string(), external_user_id: z.string() }),
  app: z.object({ client_id: z.string(), client_secret: z.string(), redirect_uris: z.array(z.string()) }),
  api_keys: z.object({ developer: z.string(), user: z.string(), test: z.string() }),
});
export type Demo = z.infer<typeof demoShape>;

const DEVELOPER = "developer@example.com";
const USER = "mara@example.com";
const EXTERNAL_USER_ID = "user_123";

export const demoFile = path.join(env.QUOTA_DATA_DIR, "demo.json");

/**
 * Makes the demo data, or finds what demo.json names. The file is written at each start, readable
 * by its owner only, because it has secrets that are stored nowhere else. `user_123` is linked again
 * when the unlink endpoint was tried out on it.
 */
export function seedDemo(db: Database): Promise<Demo> {
  // Servers that start together on one Postgres run this one after the other.
  return db.exclusively(() => seed(db));
}

async function seed(db: Database): Promise<Demo> {
  const earlier = await readDemo();
  const demo = earlier !== null && (await isAlive(db, earlier)) ? { ...earlier, base_url: publicUrl() } : await makeDemo(db);
  await transaction((tx) => linkDemoUser(tx, demo), db);
  await mkdir(path.dirname(demoFile), { recursive: true });
  // Written to another file and renamed, so that a reader never gets a part.
  await writeFile(`${demoFile}.new`, `${JSON.stringify(demo, null, 2)}\n`, { mode: 0o600 });
  await rename(`${demoFile}.new`, demoFile);
  return demo;
}

async function readDemo(): Promise<Demo | null> {
  try {
    return demoShape.parse(JSON.parse(await readFile(demoFile, "utf8")));
  } catch {
    return null;
  }
}

async function isAlive(db: Database, demo: Demo): Promise<boolean> {
  const hash = keyHash(demo.api_keys.developer);
  const app = await db.prisma.app.findUnique({ where: { clientId: demo.app.client_id, deletedAt: null }, select: { id: true } });
  // One of the two may have deleted the account.
  const people = await db.prisma.user.count({ where: { email: { in: [demo.developer.email, demo.user.email] } } });
  return (
    people === 2 &&
    app !== null &&
    hash !== null &&
    (await db.prisma.apiKey.count({ where: { hash, appId: app.id, revokedAt: null } })) === 1
  );
}

async function makeDemo(db: Database): Promise<Demo> {
  const developerPassword = password();
  const userPassword = password();
  const redirectUris = ["http://localhost:4000/api/quota/callback"];
  return transaction(async (tx) => {
    const developer = await makePerson(tx, { email: DEVELOPER, name: "Dev Eloper", password: developerPassword, credits: 25_000_000n });
    await makePerson(tx, { email: USER, name: "Mara Example", password: userPassword, credits: 10_000_000n });
    const { app, clientSecret } = await registerApp(tx, {
      ownerId: developer.id,
      name: "Acme Chat",
      siteUrl: "http://localhost:4000",
      markupBps: 2_000,
      redirectUris,
      earningsId: await openAccount(tx, "earnings"),
      sandboxWalletId: await openAccount(tx, "sandbox_wallet"),
    });
    const key = async (billingMode: "developer" | "user" | "test", name: string) =>
      (await mint(tx.prisma, { appId: app.id, name, billingMode, createdById: developer.id })).secret;
    return {
      base_url: publicUrl(),
      developer: { email: DEVELOPER, password: developerPassword },
      user: { email: USER, password: userPassword, external_user_id: EXTERNAL_USER_ID },
      app: { client_id: app.clientId, client_secret: clientSecret, redirect_uris: redirectUris },
      api_keys: {
        developer: await key("developer", "Demo"),
        user: await key("user", "Demo, users only"),
        test: await key("test", "Demo, sandbox"),
      },
    };
  }, db);
}

/** Creates the user, or sets the new password of the user with that address. */
async function makePerson(tx: Tx, person: { email: string; name: string; password: string; credits: bigint }) {
  const passwordHash = await hashPassword(person.password);
  const there = await tx.prisma.user.findUnique({ where: { email: person.email } });
  if (there !== null) return tx.prisma.user.update({ where: { id: there.id }, data: { passwordHash } });
  const walletId = await openAccount(tx, "wallet");
  const made = await tx.prisma.user.create({ data: { email: person.email, name: person.name, passwordHash, walletId } });
  await transfer(tx, {
    id: uuidv7(),
    debitId: platformAccount.promotions,
    creditId: walletId,
    amount: person.credits,
    reason: "grant",
    description: "Welcome credits",
  });
  return made;
}

async function linkDemoUser(tx: Tx, demo: Demo): Promise<void> {
  const app = await tx.prisma.app.findUniqueOrThrow({ where: { clientId: demo.app.client_id }, select: { id: true, markupBps: true } });
  const user = await tx.prisma.user.findUniqueOrThrow({ where: { email: demo.user.email }, select: { id: true, walletId: true } });
  const externalUserId = demo.user.external_user_id;
  if ((await tx.prisma.linkedUser.count({ where: { appId: app.id, externalUserId } })) > 0) return;
  await beginAgreement(tx, { appId: app.id, userId: user.id }, app.markupBps);
  const link = await tx.prisma.linkedUser.create({
    data: { appId: app.id, userId: user.id, walletId: user.walletId, externalUserId },
  });
  await setLimit(tx, link.id, 5_000_000n);
  await emit(tx, app.id, {
    type: "user.connected",
    data: { user_id: user.id, external_user_id: externalUserId, connected_at: link.linkedAt.toISOString() },
  });
}

const READABLE = "abcdefghijkmnpqrstuvwxyz23456789";

/** 60 bits, easy to type. */
function password(): string {
  const block = () => Array.from({ length: 4 }, () => READABLE[randomInt(READABLE.length)]).join("");
  return `${block()}-${block()}-${block()}`;
}
