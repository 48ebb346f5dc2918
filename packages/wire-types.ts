import { z } from "zod";
import * as shapes from "../src/server/http/shapes.ts";
import { errorTable } from "../src/server/platform/errors.ts";
import { eventBodies, eventTable } from "../src/server/webhooks/events.ts";

/**
 * Generates the types of `packages/core/src/wire.ts` from the schemas with which the server
 * validates requests and describes answers. `packages/build.ts` writes the file, and a test compares
 * it, so the SDK's types are those of the server.
 */

type Io = "input" | "output";
type Named = { name: string; about: string; schema: z.ZodType; io: Io };

const named: Named[] = [
  { name: "Quota", about: "What a request cost, and the payer's balance after it.", schema: shapes.quota, io: "output" },
  {
    name: "WireChatCompletionRequest",
    about: "The parameters of a chat completion that the server reads; others go to the provider unchanged.",
    schema: shapes.chatCompletionRequest,
    io: "input",
  },
  { name: "WireChatCompletion", about: "What the server adds to the provider's answer.", schema: shapes.chatCompletion, io: "output" },
  { name: "LinkedUser", about: "A user who connected their wallet to your app.", schema: shapes.linkedUser, io: "output" },
  { name: "LinkedUserListItem", about: "A linked user, with your app's id for the user.", schema: shapes.linkedUserListItem, io: "output" },
  { name: "LinkedUserList", about: "A page of linked users.", schema: shapes.userList, io: "output" },
  { name: "PageParams", about: "Selects a page of a list.", schema: shapes.pageQuery, io: "input" },
  { name: "Success", about: "The request was carried out.", schema: shapes.success, io: "output" },
  { name: "Model", about: "A model and its price.", schema: shapes.model, io: "output" },
  { name: "ModelList", about: "The models that requests can name.", schema: shapes.modelList, io: "output" },
  { name: "Balance", about: "The balance of a request's payer.", schema: shapes.balance, io: "output" },
  { name: "Me", about: "The API key and app, or the user, of a credential.", schema: shapes.me, io: "output" },
  { name: "UsageParams", about: "Selects usage for a report.", schema: shapes.usageQuery, io: "input" },
  { name: "UsageItem", about: "One request and what it cost.", schema: shapes.usageItem, io: "output" },
  { name: "UsagePage", about: "Requests, or with `group_by` sums.", schema: shapes.usagePage, io: "output" },
  { name: "FundingRequest", about: "Credits to give from your own wallet.", schema: shapes.fundingRequest, io: "input" },
  { name: "Funding", about: "Credits that were given.", schema: shapes.funding, io: "output" },
  { name: "Webhook", about: "An endpoint of your app that receives events.", schema: shapes.webhook, io: "output" },
  {
    name: "WebhookWithSecret",
    about: "An endpoint, with its secret in the answer that made or rotated it.",
    schema: shapes.webhookWithSecret,
    io: "output",
  },
  { name: "WebhookList", about: "Your endpoints.", schema: shapes.webhookList, io: "output" },
  { name: "WebhookParams", about: "The settings of a new endpoint.", schema: shapes.webhookCreation, io: "input" },
  { name: "WebhookChange", about: "Changes to an endpoint.", schema: shapes.webhookChange, io: "input" },
  { name: "WebhookDelivery", about: "One event for one endpoint, with its attempts.", schema: shapes.webhookDelivery, io: "output" },
  { name: "ErrorBody", about: "The body of every error of /v1.", schema: shapes.errorBody, io: "output" },
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
    `/** An event; \`type\` tells which. Amounts are credits. */\nexport type QuotaEvent =\n${bodies.join("\n")};\n`,
    `/** @internal Sample data of each event. */\nexport const eventSamples = {\n${samples.join("\n")}\n};\n`,
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
      // JSON Schema has no dates; a query sends them as text.
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
