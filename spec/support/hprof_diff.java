// Prints every object and class of a JVM heap dump as VisualVM's heap library sees them, for hprof_nodes to compare:
//   java -cp org-graalvm-visualvm-lib-jfluid-heap.jar hprof_diff.java FILE
//     N address shallow retained class, K the same of a class object, C address count of instances class
//   ... FILE --time histogram|retained
//   ... FILE --make live|all
//     writes a dump, prints the VM's class histogram of this program: javac, which ran it, with strings, tables, references of every strength and garbage
import java.io.BufferedOutputStream;
import java.io.File;
import java.io.PrintStream;
import com.sun.management.HotSpotDiagnosticMXBean;
import java.lang.management.ManagementFactory;
import java.lang.ref.PhantomReference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.SoftReference;
import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.WeakHashMap;
import javax.management.ObjectName;
import org.graalvm.visualvm.lib.jfluid.heap.Heap;
import org.graalvm.visualvm.lib.jfluid.heap.HeapFactory;
import org.graalvm.visualvm.lib.jfluid.heap.Instance;
import org.graalvm.visualvm.lib.jfluid.heap.JavaClass;

class Peer {
  static final PrintStream out = new PrintStream(new BufferedOutputStream(System.out, 1 << 16));

  static void print(char kind, Instance i) {
    out.println(kind + "\t" + Long.toHexString(i.getInstanceId()) + "\t" + i.getSize() + "\t" + i.getRetainedSize() + "\t"
        + i.getJavaClass().getName());
  }

  static class Odd {
    byte b;
    long l;
    Object o;
  }

  static class Odder extends Odd {
    short s;
    Object more;
    double d;
    boolean flag;
  }

  static final Map<String, List<Object>> held = new HashMap<>();
  static final ThreadLocal<Object> local = new ThreadLocal<>();

  // Every shape that layouts and dominators can go wrong with.
  static void fill() {
    for (int i = 0; i < 5000; i++) {
      List<Object> list = i % 2 == 0 ? new ArrayList<>() : new LinkedList<>();
      for (int k = 0; k < i % 17; k++) list.add(k % 3 == 0 ? new Odder() : k % 3 == 1 ? new Odd() : new byte[k]);
      list.add(new SoftReference<>(new int[i % 9]));
      list.add(new WeakReference<>(list));
      list.add(new PhantomReference<>(new Object(), new ReferenceQueue<>()));
      held.put("key " + i, list);
    }
    Map<Object, Object> weak = new WeakHashMap<>(), sorted = new TreeMap<>();
    for (int i = 0; i < 1000; i++) {
      weak.put(held.get("key " + i), new long[i % 5]);
      sorted.put(i, held.get("key " + (i * 3)));
    }
    local.set(List.of(weak, sorted, new char[100][3], new Object[1000], new boolean[7], new float[3], new double[2]));
    Object[] circle = {null, new Object[1]};
    ((Object[]) circle[1])[0] = circle;
    held.put("circle", List.of((Object) circle));
    for (int i = 0; i < 100; i++) held.remove("key " + (i * 7));
  }

  static void time(Heap heap, boolean retained) {
    long objects = 0;
    for (JavaClass c : heap.getAllClasses()) objects += c.getInstancesCount() + c.getAllInstancesSize() * 0;
    if (retained) heap.getAllInstancesIterator().next().getRetainedSize();
    long ns = ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    out.printf("objects %d cpu_s %.2f%n", objects, ns / 1e9);
  }

  public static void main(String[] args) throws Exception {
    if (args.length > 2 && args[1].equals("--make")) {
      fill();
      ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class).dumpHeap(args[0], args[2].equals("live"));
      System.out.println(ManagementFactory.getPlatformMBeanServer().invoke(new ObjectName("com.sun.management:type=DiagnosticCommand"),
          "gcClassHistogram", new Object[] {new String[0]}, new String[] {String[].class.getName()}));
      return;
    }
    Heap heap = HeapFactory.createHeap(new File(args[0]));
    if (args.length > 2) {
      time(heap, args[2].equals("retained"));
    } else {
      for (Iterator<Instance> all = heap.getAllInstancesIterator(); all.hasNext();) print('N', all.next());
      for (JavaClass c : heap.getAllClasses()) {
        Instance mirror = heap.getInstanceByID(c.getJavaClassId());
        if (mirror != null) print('K', mirror);
        out.println("C\t" + Long.toHexString(c.getJavaClassId()) + "\t" + c.getInstancesCount() + "\t" + c.getName());
      }
    }
    out.flush();
  }
}
