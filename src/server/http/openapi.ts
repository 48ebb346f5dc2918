import { z } from "zod";
import { publicUrl } from "#env";
import { errorTable } from "../platform/errors.ts";
import { type EventType, eventBodies, eventTable, eventTypes } from "../webhooks/events.ts";
import type { AnyOperation, Door } from "./endpoint.ts";
import { errorBody } from "./shapes.ts";

/** An OpenAPI 3.1 document of the doors, generated from the declarations that also validate their requests. */
export function openApi(doors: readonly Door[]) {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { operation } of doors) {
    if (operation === undefined) continue;
    const path = operation.path.replace("...}", "}");
    paths[path] ??= {};
    paths[path][operation.method.toLowerCase()] = describeOperation(operation);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Quota",
      version: "1.0.0",
      description: "OpenAI-compatible inference that is billed to a linked user's wallet. One credit is one micro-dollar.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: publicUrl() }],
    tags: [...new Set(doors.flatMap(({ operation }) => (operation === undefined ? [] : [tagOf(operation)])))].map((name) => ({
      name,
      description: `What is under /v1/${name}.`,
    })),
    paths,
    webhooks: Object.fromEntries(eventTypes.map((type) => [type, { post: describeEvent(type) }])),
    components: {
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "An API key: sk-quota-…" },
        apiKey: { type: "apiKey", in: "header", name: "X-API-Key" },
        accessToken: {
          type: "oauth2",
          description: "A person's own access token, for apps that keep tokens themselves.",
          flows: {
            authorizationCode: {
              authorizationUrl: `${publicUrl()}/oauth/authorize`,
              tokenUrl: `${publicUrl()}/oauth/token`,
              scopes: { "credits.read": "See the balance and what this app spent.", "credits.spend": "Pay for requests." },
            },
          },
        },
      },
      schemas: { Error: jsonSchema(errorBody, "output") },
    },
  };
}

function describeOperation(operation: AnyOperation) {
  return {
    operationId: operation.summary.toLowerCase().replace(/[^a-z0-9]+(.)/g, (_match, letter: string) => letter.toUpperCase()),
    summary: operation.summary,
    tags: [tagOf(operation)],
    ...(operation.description === undefined ? {} : { description: operation.description }),
    security:
      operation.public === true
        ? []
        : [{ bearer: [] }, { apiKey: [] }, ...(operation.tokenScope === undefined ? [] : [{ accessToken: [operation.tokenScope] }])],
    parameters: [...parametersOf(operation.params, "path"), ...parametersOf(operation.query, "query"), ...headerParameters(operation)],
    ...(operation.body === undefined
      ? {}
      : { requestBody: { required: true, content: { "application/json": { schema: jsonSchema(operation.body, "input") } } } }),
    responses: {
      "200": {
        description: "OK",
        headers: headersOf(operation, [
          ...(operation.idempotency === undefined ? [] : ["Idempotency-Replayed" as const]),
          ...(isCompletion(operation) ? (["X-Quota-Max-Tokens", "X-Quota-Simulated"] as const) : []),
        ]),
        content: {
          "application/json": { schema: jsonSchema(operation.response, "output") },
          ...(operation.streams !== undefined && {
            "text/event-stream": { schema: { type: "string", description: `With \`stream: true\`: ${operation.streams}` } },
          }),
        },
      },
      ...errorResponses(operation),
    },
  };
}

/** The segment after `/v1/`. */
function tagOf({ path }: AnyOperation): string {
  return path.split("/")[2] as string;
}

function isCompletion({ errors }: AnyOperation): boolean {
  return errors.includes("upstream_error");
}

const HEADERS = {
  "X-Request-Id": "Names this request; receipts and the usage log have it too.",
  "X-RateLimit-Limit":
    "Requests that the credential, or the user that it names, has in a minute: of the two limits the one that is nearer.",
  "X-RateLimit-Remaining": "What is left of them.",
  "X-RateLimit-Reset": "When the minute is over, in seconds since 1970.",
  "Retry-After": "Seconds to wait.",
  "Idempotency-Replayed": "`true` when this is the kept answer of an earlier request.",
  "X-Quota-Max-Tokens":
    "The output limit was lowered to this: what the payer has, or the request's share of it. A stream that reserves more as it goes on does not have it.",
  "X-Quota-Simulated": "`true` when no model was called.",
};
type HeaderName = keyof typeof HEADERS;

/** Descriptions of the headers of every answer of an operation, and of `more`. */
function headersOf(operation: AnyOperation, more: readonly HeaderName[] = []) {
  const limits: HeaderName[] = operation.public === true ? [] : ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];
  const names: HeaderName[] = ["X-Request-Id", ...limits, ...more];
  return Object.fromEntries(names.map((name) => [name, { description: HEADERS[name], schema: { type: "string" } }]));
}

const SIGNATURES = {
  "webhook-id": "The event's id; the same in every attempt.",
  "webhook-timestamp": "Seconds since 1970.",
  "webhook-signature": "Standard Webhooks: `v1,` and base64, once for each secret that is valid, separated by spaces.",
  "X-Quota-Signature": "Hex HMAC-SHA256 of the raw body, with the whole text of the newest secret as key.",
};

function describeEvent(type: EventType) {
  return {
    operationId: `on${type.replace(/(?:^|[._])(.)/g, (_match, letter: string) => letter.toUpperCase())}`,
    summary: type,
    // Deliveries are signed in headers, for which OpenAPI has no security scheme.
    security: [],
    description: eventTable[type].when,
    parameters: Object.entries(SIGNATURES).map(([name, description]) => ({
      name,
      in: "header",
      required: true,
      description,
      schema: { type: "string" },
    })),
    requestBody: {
      required: true,
      content: {
        "application/json": {
          schema: jsonSchema(eventBodies[type], "output"),
          example: {
            id: "evt_0193e4b27c1a7d3e9f602b8c4d5e6f72",
            type,
            created_at: "2026-11-22T12:00:00.000Z",
            data: eventTable[type].sample,
          },
        },
      },
    },
    responses: { "2XX": { description: "Received. Anything else, and no answer in 10 seconds, is tried again for about 3 days." } },
  };
}

function headerParameters(operation: AnyOperation) {
  const header = (name: string, description: string, required = false) => ({
    name,
    in: "header",
    required,
    description,
    schema: { type: "string" },
  });
  return [
    ...Object.entries(operation.headers ?? {}).map(([name, description]) => header(name, description)),
    ...(operation.forUser === true ? [header("X-Quota-User", "The external_user_id of the linked user who pays.")] : []),
    ...(operation.idempotency === undefined
      ? []
      : [
          header(
            "Idempotency-Key",
            "The same key and body again gets the first answer and is never billed twice.",
            operation.idempotency === "required",
          ),
        ]),
  ];
}

function parametersOf(schema: z.ZodType | undefined, place: "path" | "query") {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = jsonSchema(schema, "input") as { properties?: Record<string, object>; required?: string[] };
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === "path" || required.includes(name),
    schema: property,
  }));
}

function errorResponses(operation: AnyOperation) {
  const byStatus = Map.groupBy(operation.errors, (code) => errorTable[code].status);
  const content = { "application/json": { schema: { $ref: "#/components/schemas/Error" } } };
  const responses = [...byStatus].map(([status, group]) => {
    const description = group.map((code) => `\`${code}\`: ${errorTable[code].when}`).join(" ");
    return [
      String(status),
      { description, headers: headersOf(operation, status === 429 || status === 503 ? ["Retry-After"] : []), content },
    ];
  });
  // When a provider refuses a request, its status is passed on, which may be any 4xx.
  const refused = {
    description: "The provider refused the request itself; its status, message, `param` and `code` are passed on.",
    headers: headersOf(operation),
    content,
  };
  return { ...Object.fromEntries(responses), ...(isCompletion(operation) && { "4XX": refused }) };
}

function jsonSchema(schema: z.ZodType, io: "input" | "output") {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, {
    io,
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema: made }) => {
      // Dates are text in JSON.
      if (zodSchema._zod.def.type === "date") Object.assign(made, { type: "string", format: "date-time" });
    },
  }) as Record<string, unknown>;
  return rest;
}
