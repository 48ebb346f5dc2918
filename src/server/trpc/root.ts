import { accountRouter } from "./routers/account.ts";
import { apiKeysRouter } from "./routers/api-keys.ts";
import { appsRouter } from "./routers/apps.ts";
import { developerWalletRouter } from "./routers/developer-wallet.ts";
import { earningsRouter } from "./routers/earnings.ts";
import { linkedUsersRouter } from "./routers/linked-users.ts";
import { paymentsRouter } from "./routers/payments.ts";
import { usageRouter } from "./routers/usage.ts";
import { walletRouter } from "./routers/wallet.ts";
import { webhooksRouter } from "./routers/webhooks.ts";
import { createCallerFactory, router } from "./trpc.ts";

export const appRouter = router({
  account: accountRouter,
  apps: appsRouter,
  apiKeys: apiKeysRouter,
  developerWallet: developerWalletRouter,
  earnings: earningsRouter,
  linkedUsers: linkedUsersRouter,
  payments: paymentsRouter,
  usage: usageRouter,
  wallet: walletRouter,
  webhooks: webhooksRouter,
});

export type AppRouter = typeof appRouter;
export const createCaller = createCallerFactory(appRouter);
