import { migrate } from "../prisma/migrate.ts";
import { type HoldRequest, hold, type Settlement, settle } from "../src/server/ledger/hold.ts";
import { openDatabase } from "../src/server/platform/db.ts";
import { newId } from "../src/server/platform/ids.ts";
import { makeApp, makeKey, makeLink, makeUser } from "../src/testing/makers.ts";
import { freshDatabase, startPostgres } from "../src/testing/postgres.ts";
import { cpuMs, postgresPids } from "./cpu.ts";

/**
 * `npm run bench:batches`: the time of a hold and a settlement in batches of several sizes,
 * without a gateway.
 */
const WALLETS = 200;
const PAIRS = 3_000;

const postgres = await startPostgres();
const fresh = await freshDatabase(postgres.url);
const db = await openDatabase({ url: fresh.url });
try {
  await migrate(db);
  const app = await makeApp(db, { markupBps: 2_000 });
  const key = await makeKey(db, app.id);
  const users: string[] = [];
  for (let index = 0; index < WALLETS; index++) {
    const user = await makeUser(db, { credits: 1_000_000_000n });
    users.push((await makeLink(db, app.id, user, index % 2 === 0 ? { monthlyLimit: 900_000_000n } : {})).externalUserId);
  }
  const lane = db.lane();
  const sizes = [1, 5, 16, 64];
  for (const [index, size] of [...sizes, ...sizes].entries()) {
    if (index === sizes.length) {
      console.log("the same with a webhook endpoint for all that a settlement makes known:");
      await db.prisma.webhookEndpoint.create({
        data: {
          appId: app.id,
          url: "http://127.0.0.1/",
          secret: Buffer.alloc(1),
          events: ["usage.completed", "balance.updated", "balance.low"],
        },
      });
    }
    const rounds = Math.ceil(PAIRS / size);
    const before = cpuMs(postgresPids(postgres.dataDir));
    let holdMs = 0;
    let settleMs = 0;
    for (let round = 0; round < rounds; round++) {
      const requests = Array.from({ length: size }, (_, index) => request(key.hash, users[(round * size + index) % WALLETS] as string));
      const heldAt = performance.now();
      await hold(lane, requests);
      const settledAt = performance.now();
      await settle(lane, requests.map(settlement));
      holdMs += settledAt - heldAt;
      settleMs += performance.now() - settledAt;
    }
    const after = cpuMs(postgresPids(postgres.dataDir));
    const cpu = before === null || after === null ? "unknown" : `${((after - before) / (rounds * size)).toFixed(3)} ms`;
    console.log(
      `batches of ${String(size).padStart(2)}: hold ${(holdMs / rounds).toFixed(2)} ms, settle ${(settleMs / rounds).toFixed(2)} ms; PostgreSQL CPU for each pair of them ${cpu}`,
    );
  }
} finally {
  await db.close();
  await fresh.drop();
  await postgres.stop();
}

function request(credentialHash: Uint8Array, externalUserId: string): HoldRequest {
  return {
    id: newId(),
    credentialHash,
    byToken: false,
    externalUserId,
    model: "gpt-4o-mini",
    desiredBase: 100n,
    minimumBase: 10n,
    modestBase: 100n,
    waits: false,
    lifetimeMs: 60_000,
  };
}

function settlement({ id }: HoldRequest): Settlement {
  return {
    id,
    base: 50n,
    markup: 10n,
    outcome: "completed",
    endpoint: "/v1/chat/completions",
    provider: "openai",
    promptTokens: 9,
    cachedTokens: 0,
    completionTokens: 10,
    countedBy: "provider",
    streamed: false,
    upstreamStatus: 200,
    durationMs: 1,
  };
}
