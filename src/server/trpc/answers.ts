import { z } from "zod";
import {
  AutoTopUp,
  BillingMode,
  PaymentProvider,
  PaymentStatus,
  ReversalKind,
  TransferReason,
  UsageOutcome,
} from "../../generated/prisma/enums.ts";
import { eventType } from "../webhooks/events.ts";

/*
 * The output schemas of procedures. `z.object` strips members that it does not name, so a hash or a secret that a query
 * selects by mistake does not reach the browser. The schemas check types only, so that no stored value is refused for
 * its length or form. Amounts are credits, as bigint.
 */

/** For mutations without an answer. */
export const nothing = z.void();

/** One page of a list; `next` is the cursor of the page after it. */
export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.object({ items: z.array(item), next: z.string().nullable() });
}

const billingMode = z.enum(BillingMode);
const outcome = z.enum(UsageOutcome);
const transferReason = z.enum(TransferReason);
const nameAndId = z.object({ id: z.string(), name: z.string() });

// Apps and keys.

export const app = z.object({
  id: z.string(),
  name: z.string(),
  siteUrl: z.string().nullable(),
  logoUrl: z.string().nullable(),
  markupBps: z.number(),
  allowedModels: z.array(z.string()),
  clientId: z.string(),
  clientSecretFragment: z.string(),
  formerSecretFragment: z.string().nullable(),
  formerSecretEndsAt: z.date().nullable(),
  scopes: z.array(z.string()),
  redirectUris: z.array(z.string()),
  publicClient: z.boolean(),
  createdAt: z.date(),
});

/** The only answer with the secret of an app's OAuth client. */
export const appWithSecret = z.object({ app, clientSecret: z.string() });

export const apps = z.array(
  app.pick({ id: true, name: true, siteUrl: true, logoUrl: true, createdAt: true }).extend({
    _count: z.object({ linkedUsers: z.number() }),
  }),
);

export const newestRequests = z.array(
  z.object({
    id: z.string(),
    createdAt: z.date(),
    model: z.string(),
    outcome,
    billingMode,
    upstreamStatus: z.number().nullable(),
    promptTokens: z.number(),
    completionTokens: z.number(),
    base: z.bigint(),
    markup: z.bigint(),
  }),
);

export const apiKey = z.object({
  id: z.string(),
  name: z.string(),
  fragment: z.string(),
  billingMode,
  createdAt: z.date(),
  createdBy: z.object({ id: z.string(), name: z.string().nullable(), email: z.string() }).nullable(),
  expiresAt: z.date().nullable(),
  revokedAt: z.date().nullable(),
  rolledTo: z.object({ fragment: z.string() }).nullable(),
  lastUsedAt: z.date().nullable(),
});

export const apiKeys = z.array(apiKey);
/** The only answers with the secret of a key are this one and `rolledApiKey`. */
export const apiKeyWithSecret = z.object({ secret: z.string(), key: apiKey });
export const rolledApiKey = apiKeyWithSecret.extend({ endsAt: z.date() });

// A user's account.

export const account = z.object({
  password: z.boolean(),
  providers: z.array(z.string()),
  appsInUse: z.array(z.object({ name: z.string(), linkedUsers: z.number() })),
  unsettledPayment: z
    .discriminatedUnion("kind", [
      z.object({ kind: z.literal("owes"), amount: z.bigint() }),
      z.object({ kind: z.literal("payment under way") }),
    ])
    .nullable(),
});

export const signUp = z.object({ signUpId: z.string() });
export const passwordReset = z.object({ email: z.string() });
export const proof = z.enum(["password", "sign-in"]).nullable();

// Wallets and their statements.

export const balance = z.object({ balance: z.bigint(), held: z.bigint(), available: z.bigint() });

export const developerOverview = balance.extend({
  apps: z.array(nameAndId.extend({ requests: z.number(), spent: z.bigint() })),
  spent: z.bigint(),
  given: z.bigint(),
  gifts: z.number(),
});

const entry = { id: z.string(), at: z.date(), amount: z.bigint() };

export const developerEntry = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("request"), ...entry, requestId: z.string(), app: nameAndId.nullable(), model: z.string() }),
  z.object({
    kind: z.literal("transfer"),
    ...entry,
    reason: transferReason,
    description: z.string().nullable(),
    to: z.object({ appId: z.string(), appName: z.string(), linkedUserId: z.string(), externalUserId: z.string() }).nullable(),
  }),
]);

export const statementEntry = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("request"),
    ...entry,
    requestId: z.string(),
    appId: z.string(),
    appName: z.string(),
    externalUserId: z.string().nullable(),
    billingMode,
    model: z.string(),
    endpoint: z.string(),
    promptTokens: z.number(),
    completionTokens: z.number(),
    held: z.bigint(),
    base: z.bigint(),
    markup: z.bigint(),
    interrupted: z.boolean(),
  }),
  z.object({
    kind: z.literal("transfer"),
    ...entry,
    reason: transferReason,
    description: z.string().nullable(),
    appName: z.string().nullable(),
    externalUserId: z.string().nullable(),
    paymentId: z.string().nullable(),
  }),
]);

export const appsPaid = z.array(nameAndId);
export const models = z.array(z.object({ id: z.string(), provider: z.string() }));

export const connectedApps = z.array(
  z.object({
    id: z.string(),
    externalUserId: z.string(),
    linkedAt: z.date(),
    pausedAt: z.date().nullable(),
    allowedModels: z.array(z.string()),
    app: app.pick({ id: true, name: true, siteUrl: true, logoUrl: true }),
    limit: z.bigint().nullable(),
    spent: z.bigint(),
    lastUsedAt: z.date().nullable(),
    connections: z.number(),
  }),
);

// Linked users, as the app's owner sees them.

export const linkedUser = z.object({
  id: z.string(),
  externalUserId: z.string(),
  email: z.string().nullable(),
  linkedAt: z.date(),
  pausedAt: z.date().nullable(),
  requests: z.number(),
  spent: z.bigint(),
  earned: z.bigint(),
  limit: z.object({ limit: z.bigint(), spent: z.bigint() }).nullable(),
  lastSeenAt: z.date().nullable(),
});

export const linkedUserWithTerms = linkedUser.extend({
  scopes: z.array(z.string()),
  allowedModels: z.array(z.string()),
  agreedMarkupBps: z.number(),
  giftId: z.string(),
  otherIds: z.number(),
});

// Payments.

export const offer = z.object({
  provider: z.enum(["stripe", "sandbox", "none"]),
  packages: z.array(z.object({ id: z.string(), cents: z.number(), credits: z.bigint() })),
});

/** Credits. */
export const debt = z.bigint();

export const checkout = z.object({ url: z.string() });
/** The URL of a checkout that saves a card; null when a card is saved already. */
export const checkoutIfNeeded = z.object({ url: z.string().nullable() });

export const topUp = z.object({
  id: z.string(),
  provider: z.enum(PaymentProvider),
  status: z.enum(PaymentStatus),
  automatic: z.boolean(),
  amount: z.bigint(),
  cents: z.number(),
  method: z.string().nullable(),
  receiptUrl: z.string().nullable(),
  problem: z.string().nullable(),
  createdAt: z.date(),
  paidAt: z.date().nullable(),
  transferId: z.string().nullable(),
  appId: z.string().nullable(),
  reversals: z.array(z.object({ id: z.string(), kind: z.enum(ReversalKind), amount: z.bigint() })),
});

export const autoTopUp = z.object({
  state: z.enum(AutoTopUp),
  threshold: z.bigint().nullable(),
  packageId: z.string().nullable(),
  amount: z.bigint().nullable(),
  monthlyMaximum: z.bigint().nullable(),
  problem: z.string().nullable(),
  wentBack: z.boolean(),
  card: z.string().nullable(),
  addedThisMonth: z.bigint(),
  lowBalanceMail: z.boolean(),
});

// Usage and earnings.

const sums = z.object({
  requests: z.number(),
  failed: z.number(),
  promptTokens: z.number(),
  completionTokens: z.number(),
  base: z.bigint(),
  markup: z.bigint(),
});

export const usageReport = z.object({
  from: z.date(),
  step: z.enum(["hour", "day"]),
  steps: z.array(sums.extend({ at: z.string() })),
  totals: sums,
});

export const usageOverview = usageReport.extend({
  sandboxRequests: z.number(),
  health: z.object({
    requests: z.number(),
    failed: z.number(),
    lastFailure: z
      .object({
        id: z.string(),
        at: z.date(),
        model: z.string(),
        upstreamStatus: z.number().nullable(),
        provider: z.string().nullable(),
        outcome: z.enum(["failed", "swept"]),
      })
      .nullable(),
  }),
  links: z.object({ now: z.number(), new: z.number(), lost: z.number() }),
});

const keyName = z.object({ name: z.string(), fragment: z.string() });

export const usageBreakdown = z.object({
  more: z.boolean(),
  items: z.array(sums.extend({ group: z.string().nullable(), key: keyName.nullable() })),
});

export const request = z.object({
  id: z.string(),
  apiKeyId: z.string().nullable(),
  externalUserId: z.string().nullable(),
  billingMode,
  held: z.bigint(),
  base: z.bigint(),
  markup: z.bigint(),
  shortfall: z.bigint(),
  outcome,
  endpoint: z.string(),
  model: z.string(),
  provider: z.string().nullable(),
  promptTokens: z.number(),
  cachedTokens: z.number(),
  completionTokens: z.number(),
  countedBy: z.string().nullable(),
  streamed: z.boolean(),
  upstreamStatus: z.number().nullable(),
  durationMs: z.number(),
  createdAt: z.date(),
  requestId: z.string(),
  apiKey: keyName.nullable(),
  heldAt: z.date().nullable(),
});

export const usageChoices = z.object({
  models: z.array(z.string()),
  keys: z.array(keyName.extend({ id: z.string() })),
  tokens: z.boolean(),
});

export const earnings = z.object({ available: z.bigint(), pending: z.bigint(), pendingRequests: z.number() });

const earned = z.array(sums.pick({ requests: true, base: true, markup: true }).extend({ group: z.string().nullable() }));
export const earningsReport = usageReport.extend({ models: earned, users: earned });

// Webhooks.

export const webhookEventTypes = z.array(z.object({ type: eventType, when: z.string(), sample: z.record(z.string(), z.unknown()) }));

export const endpoint = z.object({
  id: z.string(),
  url: z.string(),
  description: z.string().nullable(),
  events: z.array(eventType),
  sandbox: z.boolean(),
  balanceLowThreshold: z.bigint(),
  formerSecretUntil: z.date().nullable(),
  failingSince: z.date().nullable(),
  disabledAt: z.date().nullable(),
  disabledReason: z.enum(["owner", "failing", "gone"]).nullable(),
  createdAt: z.date(),
  notice: z.string().nullable(),
});

export const endpoints = z.array(endpoint);

/** For creating an endpoint and for rotating its secret. */
export const endpointWithSecret = z.object({ endpoint, secret: z.string() });
export const endpointSecret = z.object({ secret: z.string() });

export const delivery = z.object({
  id: z.string(),
  endpointId: z.string(),
  eventId: z.string(),
  type: z.string(),
  status: z.string(),
  attempts: z.number(),
  nextAttemptAt: z.date().nullable(),
  lastResponseStatus: z.number().nullable(),
  lastError: z.string().nullable(),
  createdAt: z.date(),
  updatedAt: z.date(),
});

export const deliveryRecord = delivery.extend({
  body: z.string().nullable(),
  tries: z.array(
    z.object({
      id: z.string(),
      url: z.string(),
      requestHeaders: z.record(z.string(), z.string()),
      responseStatus: z.number().nullable(),
      responseBody: z.string().nullable(),
      error: z.string().nullable(),
      startedAt: z.date(),
      durationMs: z.number(),
    }),
  ),
});
