import { z } from "zod";

/**
 * The types of events: when each is sent, the shape of its data and a sample. The API
 * reference, test events and delivered bodies are made from this table. No event carries
 * a name or an email address: an app knows a user by its own id for them, and reads more
 * through the API when it has the scope for that.
 */
const userId = z.string().describe("Quota's id for the person, as in GET /v1/users.");
const externalUserId = z.string().describe("Your app's id for the linked user.");
const credits = z.int().describe("Credits; 1 credit is 1 micro-dollar.");
const moment = z.iso.datetime().describe("ISO 8601, UTC.");
const who = { user_id: userId, external_user_id: externalUserId };

const sampleUser = { user_id: "0193e4b2-7c1a-7d3e-9f60-2b8c4d5e6f70", external_user_id: "user_123" };

/**
 * Why a link ended: the app or the user ended it; another wallet was linked with the same external id;
 * its tokens were not used for 30 days; a code or a refresh token was used twice.
 */
export const disconnectReasons = ["app", "user", "replaced", "expired", "token_reused"] as const;
export type DisconnectReason = (typeof disconnectReasons)[number];

export const eventTable = {
  "user.connected": {
    when: "A person connected their wallet to your app.",
    data: z.object({ ...who, connected_at: moment }),
    sample: { ...sampleUser, connected_at: "2026-11-22T12:00:00.000Z" },
  },
  "user.disconnected": {
    when: "A link ended: the person did it (`user`), your app did (`app`), another wallet took the id's place (`replaced`), the app's tokens were not used for 30 days (`expired`), or one of them was used twice (`token_reused`).",
    data: z.object({ ...who, disconnected_at: moment, reason: z.enum(disconnectReasons) }),
    sample: { ...sampleUser, disconnected_at: "2026-11-22T12:00:00.000Z", reason: "user" },
  },
  "usage.completed": {
    when: "A request that a linked user pays for was billed, also when the client hung up in the middle of it.",
    data: z.object({
      ...who,
      request_id: z.string(),
      model: z.string(),
      prompt_tokens: z.int(),
      completion_tokens: z.int(),
      total_tokens: z.int(),
      credits_used: credits,
    }),
    sample: {
      ...sampleUser,
      request_id: "req_0193e4b27c1a7d3e9f602b8c4d5e6f71",
      model: "gpt-4o-mini",
      prompt_tokens: 120,
      completion_tokens: 45,
      total_tokens: 165,
      credits_used: 45,
    },
  },
  "balance.updated": {
    when: "A request of your app took credits from a linked user's wallet.",
    data: z.object({
      ...who,
      new_balance: credits,
      amount_spent: credits,
      model: z.string(),
      endpoint: z.string().describe("The path of the request, such as /v1/chat/completions."),
    }),
    sample: { ...sampleUser, new_balance: 4_999_955, amount_spent: 45, model: "gpt-4o-mini", endpoint: "/v1/chat/completions" },
  },
  "balance.low": {
    when: "A linked user's balance fell below your endpoint's threshold, whichever app spent it; again only after it was above it again.",
    data: z.object({ ...who, current_balance: credits, threshold: credits }),
    sample: { ...sampleUser, current_balance: 99_980, threshold: 100_000 },
  },
} as const satisfies Record<string, { when: string; data: z.ZodType; sample: object }>;

export type EventType = keyof typeof eventTable;
export const eventTypes = Object.keys(eventTable) as [EventType, ...EventType[]];
export const eventType = z.enum(eventTypes);

/** An event as `emit` takes it. */
export type QuotaEvent = { [Type in EventType]: { type: Type; data: z.infer<(typeof eventTable)[Type]["data"]> } }[EventType];

/** The shape of a delivery's body, for each type. */
export const eventBodies = Object.fromEntries(
  eventTypes.map((type) => [
    type,
    z
      .object({
        id: z.string().describe("The same in every attempt."),
        type: z.literal(type),
        created_at: moment,
        data: eventTable[type].data,
      })
      .describe(eventTable[type].when),
  ]),
) as unknown as { [Type in EventType]: z.ZodObject<{ data: (typeof eventTable)[Type]["data"] }> };
