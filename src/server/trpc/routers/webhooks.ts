import { z } from "zod";
import { endpointIsDisabled, noSuchDelivery, noSuchEndpoint, orBadRequest } from "../../http/webhooks-view.ts";
import { deliveryStatuses, findDelivery, listDeliveries, retryDelivery } from "../../webhooks/deliveries.ts";
import {
  createEndpoint,
  DEFAULT_LOW_THRESHOLD,
  DEFAULT_OVERLAP_MS,
  findEndpoint,
  LONGEST_OVERLAP_MS,
  listEndpoints,
  removeEndpoint,
  revealSecret,
  rotateSecret,
  sendTestEvent,
  updateEndpoint,
} from "../../webhooks/endpoints.ts";
import { eventTable, eventType, eventTypes } from "../../webhooks/events.ts";
import * as answers from "../answers.ts";
import { appProcedure, router } from "../trpc.ts";

const url = z.string().trim().min(1, "Write the whole address, such as https://example.com/webhooks.");
const events = z.array(eventType).min(1, "Choose at least one event.");
const description = z
  .string()
  .trim()
  .max(500, "A description has at most 500 characters.")
  .regex(/^[^\p{Cc}]*$/u, "A description has only printable characters.")
  .transform((text) => (text === "" ? null : text))
  .nullable();
const balanceLowThreshold = z.bigint().min(1n, "A threshold is above zero.").max(1_000_000_000_000n, "A threshold is at most $1,000,000.");

const endpointProcedure = appProcedure.input(z.object({ endpointId: z.uuid() }));

export const webhooksRouter = router({
  /** Every event type with its meaning and a sample of its data. */
  eventTypes: appProcedure
    .output(answers.webhookEventTypes)
    .query(() => eventTypes.map((type) => ({ type, when: eventTable[type].when, sample: eventTable[type].sample }))),

  /** An app's endpoints, newest first, those of the sandbox included. */
  list: appProcedure.output(answers.endpoints).query(({ ctx }) => listEndpoints(ctx.app.id)),

  get: endpointProcedure.output(answers.endpoint).query(async ({ ctx, input }) => found(await findEndpoint(ctx.app.id, input.endpointId))),

  /** Makes an endpoint. `secret` signs its deliveries. */
  create: appProcedure
    .input(
      z.object({
        url,
        events,
        description: description.default(null),
        balanceLowThreshold: balanceLowThreshold.default(DEFAULT_LOW_THRESHOLD),
        sandbox: z.boolean().default(false),
      }),
    )
    .output(answers.endpointWithSecret)
    .mutation(({ ctx, input: { appId: _, ...endpoint } }) => orBadRequest(createEndpoint(ctx.app.id, endpoint))),

  /** Changes the members that are given. `enabled: true` also enables an endpoint that was disabled for its failures. */
  update: endpointProcedure
    .input(
      z.object({
        url: url.optional(),
        events: events.optional(),
        description: description.optional(),
        balanceLowThreshold: balanceLowThreshold.optional(),
        enabled: z.boolean().optional(),
      }),
    )
    .output(answers.endpoint)
    .mutation(async ({ ctx, input: { appId: _, endpointId, ...changes } }) =>
      found(await orBadRequest(updateEndpoint(ctx.app.id, endpointId, changes))),
    ),

  /** Removes an endpoint with its deliveries. */
  remove: endpointProcedure.output(answers.nothing).mutation(async ({ ctx, input }) => {
    if (!(await removeEndpoint(ctx.app.id, input.endpointId))) throw noSuchEndpoint();
  }),

  /** The signing secret. A mutation, so that no cache keeps the answer. */
  revealSecret: endpointProcedure.output(answers.endpointSecret).mutation(async ({ ctx, input }) => ({
    secret: found(await orBadRequest(revealSecret(ctx.app.id, input.endpointId))),
  })),

  /** Makes a new secret. The former one also signs for `overlapMs`; 0 ends it at once. */
  rotateSecret: endpointProcedure
    .input(z.object({ overlapMs: z.number().int().min(0).max(LONGEST_OVERLAP_MS).default(DEFAULT_OVERLAP_MS) }))
    .output(answers.endpointWithSecret)
    .mutation(async ({ ctx, input }) => found(await rotateSecret(ctx.app.id, input.endpointId, input.overlapMs))),

  /** Sends an event with sample data; `delivery` has its state. */
  sendTest: endpointProcedure
    .input(z.object({ type: eventType.optional() }))
    .output(answers.delivery)
    .mutation(async ({ ctx, input }) => found(await orBadRequest(sendTestEvent(ctx.app.id, input.endpointId, input.type)))),

  /** One page of deliveries, newest first. */
  deliveries: endpointProcedure
    .input(
      z.object({
        status: z.enum(deliveryStatuses).optional(),
        type: eventType.optional(),
        cursor: z.uuid().nullish(),
        take: z.number().int().min(1).max(100).default(50),
      }),
    )
    .output(answers.pageOf(answers.delivery))
    .query(async ({ ctx, input }) => {
      const { endpointId, cursor, take, status, type } = input;
      return listDeliveries(ctx.app.id, endpointId, { take, status, type, before: cursor ?? undefined });
    }),

  /** One delivery with its body and its attempts. */
  delivery: endpointProcedure
    .input(z.object({ deliveryId: z.uuid() }))
    .output(answers.deliveryRecord)
    .query(async ({ ctx, input }) => {
      const record = await findDelivery(ctx.app.id, input.endpointId, input.deliveryId);
      if (record === null) throw noSuchDelivery();
      return record;
    }),

  /** Makes a delivery due now, also after it succeeded or failed. */
  retry: endpointProcedure
    .input(z.object({ deliveryId: z.uuid() }))
    .output(answers.delivery)
    .mutation(async ({ ctx, input }) => {
      const outcome = await retryDelivery(ctx.app.id, input.endpointId, input.deliveryId);
      if (outcome.kind === "not_found") throw noSuchDelivery();
      if (outcome.kind === "disabled") throw endpointIsDisabled();
      return outcome.delivery;
    }),
});

function found<T>(value: T | null): T {
  if (value === null) throw noSuchEndpoint();
  return value;
}
