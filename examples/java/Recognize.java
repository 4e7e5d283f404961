// Print the texts of captcha images, by a model that was exported with --input rgb:
//   java -cp onnxruntime.jar Recognize.java MODEL.onnx IMAGE...
// With com.microsoft.onnxruntime:onnxruntime 1.22.0 and Java 11, or later versions.
import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtSession;
import java.awt.Color;
import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Map;
import java.util.regex.Pattern;
import javax.imageio.ImageIO;

public class Recognize {
    public static void main(String[] args) throws Exception {
        OrtEnvironment environment = OrtEnvironment.getEnvironment();
        try (OrtSession session = environment.createSession(args[0])) {
            Map<String, String> model = session.getMetadata().getCustomMetadata();
            // A JSON list of strings of one character each, of which \ and " have a \ before them.
            String[] charSet = Pattern.compile("\"\\\\?(.)\"").matcher(model.get("char_set")).results()
                .map(found -> found.group(1)).toArray(String[]::new);
            int width = Integer.parseInt(model.get("image_width"));
            int height = Integer.parseInt(model.get("image_height"));
            for (String file : Arrays.copyOfRange(args, 1, args.length)) {
                ByteBuffer pixels;
                try {
                    pixels = ByteBuffer.wrap(pixels(file, width, height));
                } catch (IOException | IllegalArgumentException error) {
                    System.err.println(file + ": " + error.getMessage());
                    continue;
                }
                long[] shape = {1, height, width, 3};
                try (OnnxTensor image = OnnxTensor.createTensor(environment, pixels, shape, OnnxJavaType.UINT8);
                        OrtSession.Result answer = session.run(Map.of("image", image))) {
                    int[][] charIds = (int[][]) answer.get("char_ids").get().getValue();
                    float[] confidence = (float[]) answer.get("confidence").get().getValue();
                    StringBuilder text = new StringBuilder();
                    for (int id : charIds[0]) text.append(id < 0 ? "" : charSet[id]);  // -1 after the end
                    System.out.printf("%s\t%s\t%.4f%n", file, text, confidence[0]);
                }
            }
        }
    }

    static byte[] pixels(String file, int width, int height) throws IOException {
        BufferedImage decoded = ImageIO.read(new File(file));
        if (decoded == null || decoded.getWidth() != width || decoded.getHeight() != height)
            throw new IllegalArgumentException("not an image of " + width + "x" + height);
        // On white. It also leaves grays as they are, which getRGB of a gray image would brighten.
        BufferedImage image = new BufferedImage(width, height, BufferedImage.TYPE_INT_RGB);
        image.createGraphics().drawImage(decoded, 0, 0, Color.WHITE, null);
        ByteBuffer pixels = ByteBuffer.allocate(3 * width * height);
        for (int rgb : image.getRGB(0, 0, width, height, null, 0, width))
            pixels.put((byte) (rgb >> 16)).put((byte) (rgb >> 8)).put((byte) rgb);
        return pixels.array();
    }
}
