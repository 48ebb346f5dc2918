import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import {
  bindMigrationAwareSqlAdapterFactory,
  type SqlDriverAdapter,
  type SqlMigrationAwareDriverAdapterFactory,
} from "@prisma/driver-adapter-utils";
import type { SchemaEngine } from "@prisma/schema-engine-wasm";
// The package's main entry needs a bundler that loads WebAssembly; this entry does not.
import * as bindings from "../node_modules/@prisma/schema-engine-wasm/schema_engine_bg.js";

/**
 * Prisma's own schema engine in WebAssembly, over a driver adapter: it keeps the
 * `_prisma_migrations` table that the ordinary Prisma CLI reads, and needs no
 * native binary, so it also works where none can be downloaded. `schema`: the text of each of its files.
 */
export async function schemaEngine(
  factory: SqlMigrationAwareDriverAdapterFactory,
  schema: readonly [path: string, content: string][],
): Promise<SchemaEngine> {
  loaded ??= loadBindings();
  await loaded;
  const { SchemaEngine: Engine } = bindings as unknown as { SchemaEngine: typeof SchemaEngine };
  const adapter = bindMigrationAwareSqlAdapterFactory(wholeScripts(factory));
  return Engine.new({ datamodels: [...schema] }, () => {}, adapter);
}

let loaded: Promise<void> | undefined;

async function loadBindings(): Promise<void> {
  const file = fileURLToPath(import.meta.resolve("@prisma/schema-engine-wasm")).replace(/[^/\\]+$/, "schema_engine_bg.wasm");
  const { instance } = await WebAssembly.instantiate(await readFile(file), { "./schema_engine_bg.js": bindings });
  bindings.__wbg_set_wasm(instance.exports);
  (instance.exports.__wbindgen_start as () => void)();
}

/**
 * Prisma's Postgres adapter splits a script at every semicolon, which breaks function bodies.
 * Sent as one simple query, the script is split by the server, and the whole migration is one
 * transaction.
 */
function wholeScripts(factory: SqlMigrationAwareDriverAdapterFactory): SqlMigrationAwareDriverAdapterFactory {
  const wrap = (adapter: SqlDriverAdapter): SqlDriverAdapter => {
    const driver = (adapter as { underlyingDriver?(): { query(text: string): Promise<unknown> } }).underlyingDriver?.();
    if (driver === undefined) return adapter;
    return new Proxy(adapter, {
      get(target, property) {
        if (property === "executeScript") return async (script: string) => void (await driver.query(script));
        const value = Reflect.get(target, property);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  };
  return {
    provider: factory.provider,
    adapterName: factory.adapterName,
    connect: async () =>
      factory.provider === "postgres" && factory.adapterName.includes("adapter-pg") ? wrap(await factory.connect()) : factory.connect(),
    connectToShadowDb: () => factory.connectToShadowDb(),
  };
}
