/**
 * Connect Wallet for Next.js.
 *
 * @module
 */
export {
  QuotaBalance,
  type QuotaBalanceProps,
  QuotaBuyCredits,
  type QuotaBuyCreditsProps,
  QuotaConnectButton,
  type QuotaConnectButtonProps,
  type QuotaPackage,
  type QuotaProblem,
  QuotaProvider,
  type QuotaProviderProps,
  type QuotaPurchase,
  type QuotaShortage,
  type QuotaState,
  useQuota,
} from "./client.tsx";
export type { QuotaAuthConfig, QuotaConfig, QuotaUser } from "./config.ts";
export type { QuotaStatus } from "./endpoints.ts";
export { createQuotaMiddleware } from "./middleware.ts";
export { formatCredits, formatCreditsExactly } from "./money.ts";
export { createQuotaRouteHandlers, type QuotaRouteHandler, type QuotaRouteHandlers } from "./route-handlers.ts";
export { clearQuotaAuth, getQuotaClient, getQuotaUser, type QuotaUserOptions, requireQuotaUser } from "./server.ts";
