package payment.tests;

import de.bwaldvogel.mongo.MongoBackend;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.h2.mvstore.MVStore;

/**
 * Runs mongo-java-server on one loopback port until SIGTERM.
 *
 * <p>Arguments: PORT FILE (kept in an H2 store at FILE) or PORT memory (kept nowhere).
 */
public final class MongoJavaServer {

    private MongoJavaServer() {}

    public static void main(String[] args) throws InterruptedException {
        if (args.length != 2) {
            System.err.println("usage: PORT FILE|memory");
            System.exit(64);
        }
        MongoServer server = new MongoServer(backend(args[1]));
        CountDownLatch stopped = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            server.shutdown();
            stopped.countDown();
        }));
        server.bind("127.0.0.1", Integer.parseInt(args[0]));
        System.out.println("listening on 127.0.0.1:" + args[0]);
        stopped.await();
    }

    private static MongoBackend backend(String place) {
        MongoBackend backend =
                place.equals("memory") ? new MemoryBackend() : new JournaledBackend(MVStore.open(place));
        return backend.version(new AsMongo44());
    }

    /** The server says wire version 8 by itself (MongoDB 4.2); pymongo from 4.18 on speaks to 9 (4.4) and later only. */
    private static final class AsMongo44 implements MongoVersion {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(4, 4, 0);
        }

        @Override
        public int getWireVersion() {
            return 9;
        }
    }

    /**
     * Commits to the file before a write is answered, as "j: true" asks: H2 by itself saves once a second, and a
     * kill -9 would lose writes that the client was told are safe.
     */
    private static final class JournaledBackend extends H2Backend {
        private static final Set<String> WRITES =
                Set.of("insert", "update", "delete", "findandmodify", "createindexes", "create", "drop", "dropdatabase");

        JournaledBackend(MVStore store) {
            super(store);
        }

        @Override
        public Document handleMessage(MongoMessage message) {
            Document answer = super.handleMessage(message);
            String command = message.getDocument().keySet().iterator().next();
            if (WRITES.contains(command.toLowerCase(Locale.ROOT))) {
                commit();
            }
            return answer;
        }
    }
}
