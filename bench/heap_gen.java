// Writes the heap dump of a live heap for bench_graph and heap_race.sh:
//   java -Xmx6g bench/heap_gen.java FILE OBJECTS
// Maps of strings to sessions that refer to each other, trees, lists, boxed numbers and arrays, so that an object has two references
// on average; OBJECTS 24000000 makes 1.2 GB, 100000000 some 5 GB (-Xmx12g).
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

class Gen {
  static class Session {
    String user;
    Session before;
    final ArrayList<Object> items = new ArrayList<>(4);
    Tree tree;
    long started;
    int hits;
  }

  static class Tree {
    Tree left, right;
    Integer value;
  }

  static final List<Map<String, Session>> stores = new ArrayList<>();
  static final Session[] recent = new Session[4096];
  static int seed = 1;

  static int random(int below) {
    seed = seed * 1103515245 + 12345;
    return (seed >>> 8) % below;
  }

  static Tree grow(int depth) {
    Tree t = new Tree();
    t.value = Integer.valueOf(1000 + random(1 << 20));
    if (depth > 0) {
      t.left = grow(depth - 1);
      t.right = grow(depth - 1);
    }
    return t;
  }

  // About 24 objects: a map's node, strings and their bytes, a list and its array, 7 nodes of a tree and their numbers; and 30
  // references to what others of late hold.
  static Session session(int n, Session before) {
    Session s = new Session();
    s.user = "user-" + n;
    s.before = random(4) == 0 ? before : null;
    s.tree = grow(2);
    s.items.add(before);
    s.items.add("item " + n);
    s.items.add(new long[random(6)]);
    recent[n % recent.length] = s;
    for (int i = 0; i < 30; i++) {
      Session other = recent[random(recent.length)];
      if (other != null) s.items.add(i % 3 == 0 ? other.tree.left : i % 3 == 1 ? other.tree.right.value : other.items);
    }
    s.items.trimToSize();
    return s;
  }

  public static void main(String[] args) throws Exception {
    long objects = Long.parseLong(args[1]);
    Session last = null;
    for (long made = 0, n = 0; made < objects; n++, made += 24) {
      if (n % 50000 == 0) stores.add(new HashMap<>());
      last = session((int) n, last);
      stores.get(stores.size() - 1).put(last.user, last);
    }
    var server = ManagementFactory.getPlatformMBeanServer();
    ManagementFactory.newPlatformMXBeanProxy(server, "com.sun.management:type=HotSpotDiagnostic",
        com.sun.management.HotSpotDiagnosticMXBean.class).dumpHeap(args[0], true);
  }
}
