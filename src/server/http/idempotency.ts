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
 * Idempotency-Key, as in draft-ietf-httpapi-idempotency-key-header: the first request with a key is carried out and its
 * answer is kept for a day. Repeated requests with the same body get the kept answer. Errors are not kept: after one,
 * the key is free.
 *
 * A request claims its key by a lease of ten seconds on the database's clock, which the process renews while the request
 * runs. After a crash the key is free when the lease has expired. When a process stalls for longer than the lease,
 * another request may take its key over; `remember` then throws, and the transaction that bills is rolled back.
 */
export type Idempotency = {
  /**
   * Keeps the answer, in the transaction that moves the money. Throws `idempotency_conflict`,
   * which has to roll that transaction back, when another request has taken the key over.
   */
  remember(tx: Tx, answer: KeptAnswer): Promise<void>;
  /** Keeps the answer of a request that moved no money, unless it was kept already. Throws like `remember`. */
  keep(answer: KeptAnswer): Promise<void>;
  /** Frees the key after an error, unless an answer was kept. Never throws: when freeing fails, the lease expires. */
  forget(): Promise<void>;
  /** Stops the renewal of the lease. To be called when the request has ended, successful or not. */
  end(): void;
};

type KeptAnswer = { status: number; headers: Record<string, string>; body: string };

export type Claim = { kind: "first"; idempotency: Idempotency } | { kind: "replay"; reply: Reply };

const KEPT_MS = 24 * 60 * 60 * 1000;

/**
 * Claims a key for a request, or returns the kept answer. With `secret` the answer is kept encrypted. Throws
 * `bad_request` for a malformed key, and `idempotency_conflict` when the key was used with another request, or while the
 * first request with it runs.
 */
export async function claim(
  caller: { appId: string } & ({ billingMode: BillingMode } | { userId: string }),
  clientKey: string,
  request: { method: string; path: string; externalUserId: string | null; body: string },
  headers: Record<string, string>,
  options: { secret?: boolean } = {},
): Promise<Claim> {
  const { appId } = caller;
  // Keys of the sandbox, of live API keys and of each user are separate, so that no caller gets another one's answer.
  const owner = "userId" in caller ? `user ${caller.userId}` : caller.billingMode === "test" ? "test" : "live";
  const key = `${owner}:${clientKey}`;
  if (!/^[\x21-\x7e]{1,255}$/.test(clientKey)) {
    throw new AppError("bad_request", { param: "Idempotency-Key", message: "Idempotency-Key must be 1 to 255 visible ASCII characters." });
  }
  const { sql } = await database();
  const requestHash = createHash("sha256")
    .update(JSON.stringify([request.method, request.path, request.externalUserId, request.body]))
    .digest();
  const mine: KeyClaim = { appId, key, claim: randomUUID() };
  for (let attempt = 0; attempt < 3; attempt++) {
    // The statement takes an expired record over. Of concurrent claims the primary key lets one succeed.
    const [taken] = await sql.query(claimStatement, [appId, key, requestHash, mine.claim, LEASE_MS]);
    if (taken !== undefined) return { kind: "first", idempotency: startClaim(mine, options.secret === true) };
    const [record] = await sql.query(recordStatement, [appId, key]);
    if (record === undefined) continue;
    if (!requestHash.equals(record.request_hash as Uint8Array))
      throw new AppError("idempotency_conflict", { message: "This Idempotency-Key was used with another request." });
    if (record.status === null) {
      // When the lease ends, the request has been answered, its process has crashed and the key is free, or the lease was renewed.
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
              ? await decrypted(appId, key, record.body as Uint8Array)
              : Buffer.from(record.body as Uint8Array).toString("utf8"),
      },
    };
  }
  throw new AppError("idempotency_conflict", { headers: { "retry-after": "1" } });
}

const sealContext = (appId: string, key: string) => `answer ${appId} ${key}`;

async function decrypted(appId: string, key: string, body: Uint8Array): Promise<string> {
  const text = unseal(await serverSecret(), sealContext(appId, key), body);
  if (text !== null) return text;
  throw new AppError("idempotency_conflict", {
    message:
      "The request with this Idempotency-Key was carried out, and its answer can't be read any more: the server's secret has changed.",
  });
}

type KeyClaim = { appId: string; key: string; claim: string };

function startClaim(mine: KeyClaim, secret: boolean): Idempotency {
  // A request that has taken the key over has another claim, and its record must stay.
  const unanswered = { ...mine, status: null };
  let kept = false;
  const renewal = startRenewal(mine);
  return {
    async keep(answer) {
      if (!kept) await transaction((tx) => this.remember(tx, answer));
    },
    async remember(tx, answer) {
      const body = secret ? seal(await serverSecret(), sealContext(mine.appId, mine.key), answer.body) : Buffer.from(answer.body);
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
      renewal.end();
      try {
        await (await prisma()).idempotencyRecord.deleteMany({ where: unanswered });
      } catch (error) {
        log.warn("an idempotency key could not be freed; it is free when its lease expires", { error });
      }
    },
    end: renewal.end,
  };
}

/** How long a key outlives its process. A lease is renewed four times in it, so that one late renewal does not lose the key. */
const LEASE_MS = 10_000;
const RENEW_EVERY_MS = LEASE_MS / 4;

/** Claims of the requests that run in this process. Most requests end before the first renewal. */
const running = new Map<string, KeyClaim & { until: number }>();
let timer: NodeJS.Timeout | undefined;

/** Renews a claim until `end` is called, and no longer than two minutes beyond QUOTA_REQUEST_TIMEOUT_MS. */
function startRenewal(mine: KeyClaim): { end(): void } {
  running.set(mine.claim, { ...mine, until: performance.now() + env.QUOTA_REQUEST_TIMEOUT_MS + 120_000 });
  timer ??= setInterval(() => void renewClaims(), RENEW_EVERY_MS).unref();
  return {
    end() {
      running.delete(mine.claim);
      if (running.size > 0) return;
      clearInterval(timer);
      timer = undefined;
    },
  };
}

let renewing = false;

/** Renews all claims of this process in one statement. Never throws: a failure is logged, and the timer tries again. */
export async function renewClaims(): Promise<void> {
  if (renewing) return;
  renewing = true;
  try {
    for (const [claim, { until }] of running) if (until < performance.now()) running.delete(claim);
    const all = [...running.values()];
    if (all.length === 0) return;
    const { sql } = await database();
    await sql.query(renewStatement, [
      plainArray(all.map(({ appId }) => appId)),
      textArray(all.map(({ key }) => key)),
      plainArray(all.map(({ claim }) => claim)),
      LEASE_MS,
    ]);
  } catch (error) {
    log.warn("the claims on idempotency keys could not be renewed", { error });
  } finally {
    renewing = false;
  }
}

/** Deletes expired records; for the hourly job. */
export async function purgeIdempotency(): Promise<void> {
  const { sql } = await database();
  await sql.query(purgeStatement, []);
}

// The database's clock, because the clocks of two servers may differ by more than a lease.
const after = (parameter: string) => `now() + ${parameter}::int * interval '1 millisecond'`;

const claimStatement = {
  name: "idempotency_claim",
  text: `
    INSERT INTO idempotency_record AS r (app_id, key, request_hash, claim, expires_at)
    VALUES ($1::uuid, $2::text, $3::bytea, $4::uuid, ${after("$5")})
    ON CONFLICT (app_id, key) DO UPDATE
      SET request_hash = excluded.request_hash, claim = excluded.claim, expires_at = excluded.expires_at,
        created_at = now(), status = NULL, headers = NULL, body = NULL
      WHERE r.expires_at < now()
    RETURNING 1 AS taken`,
};
// Expiry is set by the clock that it is compared with: a server whose clock is a day behind would set one in the past.
const rememberStatement = {
  name: "idempotency_remember",
  text: `
    UPDATE idempotency_record SET status = $4::int, headers = $5::jsonb, body = $6::bytea, expires_at = ${after("$7")}
    WHERE app_id = $1::uuid AND key = $2::text AND claim = $3::uuid AND status IS NULL
    RETURNING 1 AS remembered`,
};
const recordStatement = {
  name: "idempotency_record",
  text: `
    SELECT request_hash, status, headers::text AS headers, body, greatest(1, ceil(extract(epoch FROM expires_at - now())))::int AS seconds_left
    FROM idempotency_record WHERE app_id = $1::uuid AND key = $2::text`,
};
// SKIP LOCKED: a locked record is being answered, freed or taken over, and the renewal of the others must not wait for it.
const renewStatement = {
  name: "idempotency_renew",
  text: `
    WITH mine AS (
      SELECT r.app_id, r.key FROM idempotency_record r
      JOIN unnest($1::uuid[], $2::text[], $3::uuid[]) AS m(app_id, key, claim) ON r.app_id = m.app_id AND r.key = m.key AND r.claim = m.claim
      WHERE r.status IS NULL
      FOR UPDATE OF r SKIP LOCKED)
    UPDATE idempotency_record r SET expires_at = ${after("$4")} FROM mine WHERE r.app_id = mine.app_id AND r.key = mine.key`,
};
const purgeStatement = { name: "idempotency_purge", text: `DELETE FROM idempotency_record WHERE expires_at < now()` };
