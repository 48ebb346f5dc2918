import { createHash, randomUUID } from "node:crypto";
import { env } from "#env";
import type { BillingMode } from "../../generated/prisma/enums.ts";
import { database, prisma, type Tx, transaction } from "../platform/db.ts";
import { AppError } from "../platform/errors.ts";
import { log } from "../platform/log.ts";
import { serverSecret } from "../platform/server-secret.ts";
import { plainArray, textArray } from "../platform/sql.ts";
import { seal, unseal } from "../webhooks/secret.ts";
import type { Reply } from "./exchange.ts";

/**
 * Idempotency-Key, as drafted in draft-ietf-httpapi-idempotency-key-header: the
 * first request with a key is carried out, its answer is kept for a day, and who
 * asks again with the same body gets that answer. Only what succeeded is kept;
 * after an error the same key may try again.
 *
 * The claim on a key belongs to a living process: it is a lease of ten seconds, by the
 * database's clock, which the process prolongs as long as the request runs. After a crash
 * the key is free when the lease is over. A process that stood still for longer may find
 * its key taken over; then what it bills and remembers is rolled back.
 */
export type Idempotency = {
  /**
   * Keeps the answer, in the transaction that moves the money. Throws `idempotency_conflict`,
   * which has to roll that transaction back, when another request has taken the key over.
   */
  remember(tx: Tx, answer: KeptAnswer): Promise<void>;
  /** Keeps the answer of a request that moved no money, unless it was kept already. Throws like `remember`. */
  keep(answer: KeptAnswer): Promise<void>;
  /** Forgets the attempt after an error, unless an answer was kept. Never throws: without it the lease runs out. */
  forget(): Promise<void>;
  /** The request is over, however it ended: its lease is not prolonged any more. */
  end(): void;
};

type KeptAnswer = { status: number; headers: Record<string, string>; body: string };

export type Claim = { kind: "first"; idempotency: Idempotency } | { kind: "replay"; reply: Reply };

const KEPT_MS = 24 * 60 * 60 * 1000;

/**
 * With `secret` the answer has a secret in it, and is kept encrypted.
 *
 * Throws `bad_request` for an unusable key and `idempotency_conflict` for another body or a request that still runs.
 */
export async function claim(
  caller: { appId: string } & ({ billingMode: BillingMode } | { userId: string }),
  clientKey: string,
  request: { method: string; path: string; externalUserId: string | null; body: string },
  headers: Record<string, string>,
  options: { secret?: boolean } = {},
): Promise<Claim> {
  const { appId } = caller;
  // The sandbox has keys of its own: its answers moved no credits. So has each person, whose
  // answers are nobody else's.
  const owner = "userId" in caller ? `user ${caller.userId}` : caller.billingMode === "test" ? "test" : "live";
  const key = `${owner}:${clientKey}`;
  if (!/^[\x21-\x7e]{1,255}$/.test(clientKey)) {
    throw new AppError("bad_request", { param: "Idempotency-Key", message: "Idempotency-Key must be 1 to 255 visible ASCII characters." });
  }
  const { sql } = await database();
  const requestHash = createHash("sha256")
    .update(JSON.stringify([request.method, request.path, request.externalUserId, request.body]))
    .digest();
  const mine: Place = { appId, key, claim: randomUUID() };
  for (let attempt = 0; attempt < 3; attempt++) {
    // A key whose time is over is free again. Of two that arrive together the primary key lets one in.
    const [taken] = await sql.query(claimStatement, [appId, key, requestHash, mine.claim, LEASE_MS]);
    if (taken !== undefined) return { kind: "first", idempotency: claimed(mine, options.secret === true) };
    const [record] = await sql.query(recordStatement, [appId, key]);
    if (record === undefined) continue;
    if (!requestHash.equals(record.request_hash as Uint8Array))
      throw new AppError("idempotency_conflict", { message: "This Idempotency-Key was used with another request." });
    if (record.status === null) {
      // Then it is answered, or its server is gone and the key is free, or its server has been heard of again.
      throw new AppError("idempotency_conflict", {
        message: "The first request with this Idempotency-Key is still running.",
        headers: { "retry-after": String(record.seconds_left) },
      });
    }
    return {
      kind: "replay",
      reply: {
        status: Number(record.status),
        headers: { ...(JSON.parse(String(record.headers)) as Record<string, string>), ...headers, "idempotency-replayed": "true" },
        body:
          record.body === null
            ? null
            : options.secret === true
              ? await unsealed(appId, key, record.body as Uint8Array)
              : Buffer.from(record.body as Uint8Array).toString("utf8"),
      },
    };
  }
  throw new AppError("idempotency_conflict", { headers: { "retry-after": "1" } });
}

const placeOf = (appId: string, key: string) => `answer ${appId} ${key}`;

async function unsealed(appId: string, key: string, body: Uint8Array): Promise<string> {
  const text = unseal(await serverSecret(), placeOf(appId, key), body);
  if (text !== null) return text;
  throw new AppError("idempotency_conflict", {
    message:
      "The request with this Idempotency-Key was carried out, and its answer can't be read any more: the server's secret has changed.",
  });
}

type Place = { appId: string; key: string; claim: string };

function claimed(mine: Place, secret: boolean): Idempotency {
  // Whoever took the key over has another claim; that record is not ours.
  const ours = { ...mine, status: null };
  let kept = false;
  const lease = prolonged(mine);
  return {
    async keep(answer) {
      if (!kept) await transaction((tx) => this.remember(tx, answer));
    },
    async remember(tx, answer) {
      const body = secret ? seal(await serverSecret(), placeOf(mine.appId, mine.key), answer.body) : Buffer.from(answer.body);
      const [remembered] = await tx.query(rememberStatement, [
        mine.appId,
        mine.key,
        mine.claim,
        answer.status,
        JSON.stringify(answer.headers),
        body,
        KEPT_MS,
      ]);
      if (remembered === undefined) {
        throw new AppError("idempotency_conflict", {
          message: "This server stood still, and another request has taken the Idempotency-Key over. Nothing was done twice.",
          headers: { "retry-after": "1" },
        });
      }
      kept = true;
    },
    async forget() {
      lease.end();
      try {
        await (await prisma()).idempotencyRecord.deleteMany({ where: ours });
      } catch (error) {
        log.warn("an idempotency key could not be freed; it is when its lease is over", { error });
      }
    },
    end: lease.end,
  };
}

/** How long a key outlives its process. A process is heard of four times in it, so that a slow moment costs nobody their key. */
const LEASE_MS = 10_000;
const PROLONG_EVERY_MS = LEASE_MS / 4;

/** The claims of requests that this process runs. Short requests are over before anything has to be prolonged. */
const running = new Map<string, Place & { until: number }>();
let timer: NodeJS.Timeout | undefined;

/** Prolongs a claim until its request ends, and in any case no longer than the longest request may take. */
function prolonged(mine: Place): { end(): void } {
  running.set(mine.claim, { ...mine, until: performance.now() + env.QUOTA_REQUEST_TIMEOUT_MS + 120_000 });
  timer ??= setInterval(() => void prolongAll(), PROLONG_EVERY_MS).unref();
  return {
    end() {
      running.delete(mine.claim);
      if (running.size > 0) return;
      clearInterval(timer);
      timer = undefined;
    },
  };
}

let prolonging = false;

/** All claims of this process, in one statement. A database that is away is asked again the next time. */
export async function prolongAll(): Promise<void> {
  if (prolonging) return;
  prolonging = true;
  try {
    for (const [claim, { until }] of running) if (until < performance.now()) running.delete(claim);
    const all = [...running.values()];
    if (all.length === 0) return;
    const { sql } = await database();
    await sql.query(prolongStatement, [
      plainArray(all.map(({ appId }) => appId)),
      textArray(all.map(({ key }) => key)),
      plainArray(all.map(({ claim }) => claim)),
      LEASE_MS,
    ]);
  } catch (error) {
    log.warn("the claims on idempotency keys could not be prolonged", { error });
  } finally {
    prolonging = false;
  }
}

/** Removes what has expired; for the hourly job. */
export async function purgeIdempotency(): Promise<void> {
  const { sql } = await database();
  await sql.query(purgeStatement, []);
}

// By the database's clock: a lease is shorter than the clocks of two servers may be apart.
const lease = (parameter: string) => `now() + ${parameter}::int * interval '1 millisecond'`;

const claimStatement = {
  name: "idempotency_claim",
  text: `
    INSERT INTO idempotency_record AS r (app_id, key, request_hash, claim, expires_at)
    VALUES ($1::uuid, $2::text, $3::bytea, $4::uuid, ${lease("$5")})
    ON CONFLICT (app_id, key) DO UPDATE
      SET request_hash = excluded.request_hash, claim = excluded.claim, expires_at = excluded.expires_at,
        created_at = now(), status = NULL, headers = NULL, body = NULL
      WHERE r.expires_at < now()
    RETURNING 1 AS taken`,
};
// By the same clock that says when it is over: a server whose own is a day behind would keep nothing.
const rememberStatement = {
  name: "idempotency_remember",
  text: `
    UPDATE idempotency_record SET status = $4::int, headers = $5::jsonb, body = $6::bytea, expires_at = ${lease("$7")}
    WHERE app_id = $1::uuid AND key = $2::text AND claim = $3::uuid AND status IS NULL
    RETURNING 1 AS remembered`,
};
const recordStatement = {
  name: "idempotency_record",
  text: `
    SELECT request_hash, status, headers::text AS headers, body, greatest(1, ceil(extract(epoch FROM expires_at - now())))::int AS seconds_left
    FROM idempotency_record WHERE app_id = $1::uuid AND key = $2::text`,
};
// What somebody has locked is being answered at this moment: nobody waits for it.
const prolongStatement = {
  name: "idempotency_prolong",
  text: `
    WITH mine AS (
      SELECT r.app_id, r.key FROM idempotency_record r
      JOIN unnest($1::uuid[], $2::text[], $3::uuid[]) AS m(app_id, key, claim) ON r.app_id = m.app_id AND r.key = m.key AND r.claim = m.claim
      WHERE r.status IS NULL
      FOR UPDATE OF r SKIP LOCKED)
    UPDATE idempotency_record r SET expires_at = ${lease("$4")} FROM mine WHERE r.app_id = mine.app_id AND r.key = mine.key`,
};
const purgeStatement = { name: "idempotency_purge", text: `DELETE FROM idempotency_record WHERE expires_at < now()` };
