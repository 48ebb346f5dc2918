import { z } from "zod";
import * as shapes from "../src/server/http/shapes.ts";
import { errorTable } from "../src/server/platform/errors.ts";
import { eventBodies, eventTable } from "../src/server/webhooks/events.ts";

/**
 * Writes the types of `packages/core/src/wire.ts` from the schemas that the server
 * checks requests with and describes replies by. `packages/build.ts` keeps the file,
 * and a test compares the two, so that SDK and server cannot drift apart.
 */

type Io = "input" | "output";
type Named = { name: string; about: string; schema: z.ZodType; io: Io };

const named: Named[] = [
  { name: "Quota", about: "What a request cost, and what is left.", schema: shapes.quota, io: "output" },
  {
    name: "WireChatCompletionRequest",
    about: "What the server needs of a chat completion; other parameters go to the provider.",
    schema: shapes.chatCompletionRequest,
    io: "input",
  },
  { name: "WireChatCompletion", about: "What the server adds to the provider's answer.", schema: shapes.chatCompletion, io: "output" },
  { name: "LinkedUser", about: "A person who connected their wallet to your app.", schema: shapes.linkedUser, io: "output" },
  { name: "LinkedUserListItem", about: "A linked user, with your id for them.", schema: shapes.linkedUserListItem, io: "output" },
  { name: "LinkedUserList", about: "A page of linked users.", schema: shapes.userList, io: "output" },
  { name: "PageParams", about: "Which page of a list.", schema: shapes.pageQuery, io: "input" },
  { name: "Success", about: "It worked.", schema: shapes.success, io: "output" },
  { name: "Model", about: "A model and its price.", schema: shapes.model, io: "output" },
  { name: "ModelList", about: "The models that can be asked.", schema: shapes.modelList, io: "output" },
  { name: "Balance", about: "What the payer of a request has.", schema: shapes.balance, io: "output" },
  { name: "Me", about: "Who a credential is.", schema: shapes.me, io: "output" },
  { name: "UsageParams", about: "Which usage to report.", schema: shapes.usageQuery, io: "input" },
  { name: "UsageItem", about: "One request and what it cost.", schema: shapes.usageItem, io: "output" },
  { name: "UsagePage", about: "Single requests, or with `group_by` sums.", schema: shapes.usagePage, io: "output" },
  { name: "FundingRequest", about: "Credits to give from your own wallet.", schema: shapes.fundingRequest, io: "input" },
  { name: "Funding", about: "Credits that were given.", schema: shapes.funding, io: "output" },
  { name: "Webhook", about: "An endpoint of yours that hears of events.", schema: shapes.webhook, io: "output" },
  {
    name: "WebhookWithSecret",
    about: "An endpoint, and its secret when it was just made or rotated.",
    schema: shapes.webhookWithSecret,
    io: "output",
  },
  { name: "WebhookList", about: "Your endpoints.", schema: shapes.webhookList, io: "output" },
  { name: "WebhookParams", about: "An endpoint to make.", schema: shapes.webhookCreation, io: "input" },
  { name: "WebhookChange", about: "What to change of an endpoint.", schema: shapes.webhookChange, io: "input" },
  { name: "WebhookDelivery", about: "One event on its way to one endpoint.", schema: shapes.webhookDelivery, io: "output" },
  { name: "ErrorBody", about: "What every error of /v1 looks like.", schema: shapes.errorBody, io: "output" },
];

/** The text of `wire.ts`. */
export function wireTypes(): string {
  const types = Object.keys(eventTable) as (keyof typeof eventTable)[];
  const bodies = types.map((type) => `  | ${printed(jsonSchema(eventBodies[type], "output"), 1)}`);
  const samples = types.map((type) => `  ${JSON.stringify(type)}: ${JSON.stringify(eventTable[type].sample)},`);
  const codes = Object.keys(errorTable).map((code) => `  | ${JSON.stringify(code)}`);
  return [
    "// Made by packages/wire-types.ts from the server's schemas. Do not edit.\n",
    ...named.map(({ name, about, schema, io }) => `/** ${about} */\nexport type ${name} = ${printed(jsonSchema(schema, io), 0)};\n`),
    `/** Every error code of /v1; \`docs/errors.md\` says when each is sent. */\nexport type QuotaErrorCode =\n${codes.join("\n")};\n`,
    `/** An event, told apart by \`type\`. Amounts are credits. */\nexport type QuotaEvent =\n${bodies.join("\n")};\n`,
    `/** @internal What each event says, for example. */\nexport const eventSamples = {\n${samples.join("\n")}\n};\n`,
  ].join("\n");
}

type JsonSchema = {
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  anyOf?: JsonSchema[];
  allOf?: JsonSchema[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: boolean | JsonSchema;
  items?: JsonSchema;
  description?: string;
};

function jsonSchema(schema: z.ZodType, io: Io): JsonSchema {
  return z.toJSONSchema(schema, {
    io,
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema: made }) => {
      // Dates and numbers of a query travel as text and are written as what they are.
      if (zodSchema._zod.def.type === "date") Object.assign(made, { type: "string", format: "date-time" });
    },
  }) as JsonSchema;
}

function printed(schema: JsonSchema, depth: number): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf !== undefined) return schema.anyOf.map((each) => printed(each, depth)).join(" | ");
  if (schema.allOf !== undefined) return schema.allOf.map((each) => printed(each, depth)).join(" & ");
  if (Array.isArray(schema.type)) return schema.type.map((type) => printed({ ...schema, type }, depth)).join(" | ");
  switch (schema.type) {
    case "string":
    case "boolean":
    case "null":
      return schema.type;
    case "integer":
    case "number":
      return "number";
    case "array":
      return `Array<${schema.items === undefined ? "unknown" : printed(schema.items, depth)}>`;
    case "object":
      return printedObject(schema, depth);
    default:
      return "unknown";
  }
}

function printedObject(schema: JsonSchema, depth: number): string {
  const indent = "  ".repeat(depth + 1);
  const lines: string[] = [];
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    if (property.description !== undefined) lines.push(`${indent}/** ${property.description} */`);
    const optional = schema.required?.includes(name) !== true;
    lines.push(`${indent}${name}${optional ? "?" : ""}: ${printed(property, depth + 1)}${optional ? " | undefined" : ""};`);
  }
  const open = schema.additionalProperties;
  if (open !== undefined && open !== false) lines.push(`${indent}[other: string]: unknown;`);
  return lines.length === 0 ? "Record<string, never>" : `{\n${lines.join("\n")}\n${"  ".repeat(depth)}}`;
}
