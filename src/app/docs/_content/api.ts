import { GET } from "../../v1/openapi.json/route.ts";

/** What the API reference shows of an operation. */
export type ApiOperation = {
  name: string;
  method: string;
  path: string;
  summary: string;
  description: string | undefined;
  public: boolean;
  tokenScope: string | undefined;
  parameters: { name: string; in: string; required: boolean; schema: Schema; description?: string }[];
  body: Schema | undefined;
  answer: Schema | undefined;
  errors: { status: string; description: string }[];
};

type Schema = {
  type?: string | string[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  description?: string;
  format?: string;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  examples?: unknown[];
  $ref?: string;
};

// The part of openapi.json that is read here.
type Described = {
  summary: string;
  description?: string;
  security: Record<string, string[]>[];
  parameters: ApiOperation["parameters"];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: Schema }> }>;
};
type Document = { paths: Record<string, Record<string, Described>>; components: { schemas: Record<string, Schema> } };

/** The operations in the order of openapi.json, which this server serves. */
export async function apiOperations(): Promise<ApiOperation[]> {
  const document = (await (await GET(new Request("http://localhost/v1/openapi.json"))).json()) as Document;
  const resolve = (schema: Schema | undefined): Schema | undefined =>
    schema?.$ref === undefined ? schema : document.components.schemas[schema.$ref.split("/").at(-1) as string];
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => ({
      name: `${method.toUpperCase()} ${path}`,
      method: method.toUpperCase(),
      path,
      summary: described.summary,
      description: described.description,
      public: described.security.length === 0,
      tokenScope: described.security.map((way) => way.accessToken?.[0]).find((scope) => scope !== undefined),
      parameters: described.parameters,
      body: resolve(described.requestBody?.content["application/json"]?.schema),
      answer: resolve(described.responses["200"]?.content?.["application/json"]?.schema),
      errors: Object.entries(described.responses)
        .filter(([status]) => !status.startsWith("2"))
        .map(([status, { description }]) => ({ status, description })),
    })),
  );
}

/** An example body that is valid as it is. */
export function exampleBody(operation: ApiOperation): string | null {
  const example = operation.body?.examples?.[0];
  return example === undefined ? null : JSON.stringify(example, null, 2);
}

/** The whole reference as Markdown; a page replaces `<!-- insert: … -->` by components that need a browser. */
export async function apiMarkdown(): Promise<string> {
  return (await apiOperations()).map(section).join("\n\n");
}

function section(operation: ApiOperation): string {
  const { summary, name, description, parameters, body, answer, errors } = operation;
  return [
    `## ${summary}`,
    `\`${name}\``,
    description,
    credential(operation),
    parameters.length > 0 &&
      `**Parameters**\n\n${rows(
        "Where",
        parameters.map((parameter) => ({
          name: parameter.name,
          required: parameter.required,
          type: typeOf(parameter.schema),
          extra: parameter.in,
          description: parameter.description ?? detail(parameter.schema),
        })),
      )}`,
    body && `**Body**\n\n${fieldTable(body)}`,
    command(operation),
    answer && `**Answer**\n\n${variants(answer)}`,
    `**Errors:** ${errors.map(({ status, description: text }) => `${status} ${codes(text)}`).join(", ")}.`,
    `<!-- insert: ${name} -->`,
  ]
    .filter((part) => part !== undefined && part !== false && part !== "")
    .join("\n\n");
}

function credential({ public: open, tokenScope }: ApiOperation): string {
  if (open) return "Needs no credential.";
  return tokenScope === undefined
    ? "Needs an API key."
    : `Needs an API key, or a [person's access token](/docs/tokens) with \`${tokenScope}\`.`;
}

/** The error codes in an answer's description, each linked to its section. */
function codes(description: string): string {
  const named = [...description.matchAll(/`(\w+)`:/g)].map(([, code]) => `[\`${code}\`](/docs/errors#${code})`);
  return named.length > 0 ? named.join(" ") : "as the provider says";
}

function command({ method, path, public: open, parameters, body }: ApiOperation): string {
  const sample = path.replace("{external_user_id}", "user_123").replace("{id}", path.startsWith("/v1/models") ? "gpt-4o-mini" : "$ID");
  const header = (text: string) => `  -H "${text}"`;
  const example = body?.examples?.[0];
  const lines = [
    `curl ${method === "GET" || example !== undefined ? "" : `-X ${method} `}http://localhost:3000${sample}`,
    ...(open ? [] : [header("Authorization: Bearer $QUOTA_API_KEY")]),
    ...(parameters.some(({ name }) => name === "X-Quota-User") ? [header("X-Quota-User: user_123")] : []),
    ...(parameters.some(({ name, required }) => name === "Idempotency-Key" && required) ? [header("Idempotency-Key: $(uuidgen)")] : []),
    ...(example === undefined ? [] : [header("Content-Type: application/json"), `  -d '${JSON.stringify(example)}'`]),
  ];
  return ["```sh", lines.join(" \\\n"), "```"].join("\n");
}

/** The fields of an answer; of each form when it has several. */
function variants(schema: Schema): string {
  const forms = schema.anyOf ?? schema.oneOf;
  return forms === undefined ? fieldTable(schema) : forms.map(fieldTable).join("\n\nor\n\n");
}

function fieldTable(schema: Schema): string {
  const found = fields(schema, "");
  return found.length === 0 ? "An empty object." : rows("", found);
}

type Row = { name: string; required: boolean; type: string; extra?: string; description: string };

function rows(extra: string, found: readonly Row[]): string {
  const head = extra === "" ? "| Field | Type | |\n|---|---|---|" : `| Name | ${extra} | Type | |\n|---|---|---|---|`;
  const lines = found.map(
    ({ name, required, type, extra: place, description }) =>
      `| \`${name}\` | ${place === undefined ? "" : `${place} | `}${type} | ${[required ? "" : "Optional.", description].filter(Boolean).join(" ")} |`,
  );
  return [head, ...lines].join("\n");
}

/** Fields and the fields within them; `data[].id` for those of a list's items. */
function fields(schema: Schema, prefix: string): Row[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const path = `${prefix}${name}`;
    const own: Row = { name: path, required: schema.required?.includes(name) ?? false, type: typeOf(field), description: detail(field) };
    if (field.items?.properties !== undefined) return [own, ...fields(field.items, `${path}[].`)];
    return field.properties === undefined ? [own] : [own, ...fields(field, `${path}.`)];
  });
}

function typeOf(schema: Schema): string {
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${JSON.stringify(value)}\``).join(", ");
  const forms = schema.anyOf ?? schema.oneOf;
  if (forms !== undefined) return [...new Set(forms.map(typeOf))].join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items ?? {})}`;
  return [schema.type ?? "anything"].flat().join(" or ");
}

function detail(schema: Schema): string {
  const limits = [
    schema.default !== undefined && `Default \`${JSON.stringify(schema.default)}\`.`,
    schema.minimum !== undefined && Math.abs(schema.minimum) < Number.MAX_SAFE_INTEGER && `At least ${schema.minimum}.`,
    schema.maximum !== undefined && schema.maximum < Number.MAX_SAFE_INTEGER && `At most ${schema.maximum}.`,
    schema.maxLength !== undefined && `At most ${schema.maxLength} characters.`,
  ].filter((text) => text !== false);
  // A vertical bar would end the table's cell.
  return [schema.description, ...limits].filter(Boolean).join(" ").replaceAll("|", "\\|");
}
