// Print the texts of captcha images, by a model that was exported with --input rgb:
//
//	go run . MODEL.onnx IMAGE...
//
// With github.com/yalue/onnxruntime_go v1.27.0, and the shared library of the version of ONNX
// Runtime that its README names; the environment variable ONNXRUNTIME_LIB is the path of that.
package main

import (
	"encoding/json"
	"fmt"
	"image"
	"image/draw"
	_ "image/jpeg"
	_ "image/png"
	"log"
	"os"
	"strconv"

	ort "github.com/yalue/onnxruntime_go"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	ort.SetSharedLibraryPath(os.Getenv("ONNXRUNTIME_LIB"))
	must(0, ort.InitializeEnvironment())
	outputs := []string{"char_ids", "confidence"}
	session := must(ort.NewDynamicAdvancedSession(os.Args[1], []string{"image"}, outputs, nil))
	metadata := must(session.GetModelMetadata())
	said := func(key string) string {
		value, _, err := metadata.LookupCustomMetadataMap(key)
		return must(value, err)
	}
	var charSet []string
	must(0, json.Unmarshal([]byte(said("char_set")), &charSet))
	width, height := must(strconv.Atoi(said("image_width"))), must(strconv.Atoi(said("image_height")))
	for _, path := range os.Args[2:] {
		pixels, err := readPixels(path, width, height)
		if err != nil {
			log.Printf("%s: %v", path, err)
			continue
		}
		shape := ort.NewShape(1, int64(height), int64(width), 3)
		tensor := must(ort.NewTensor(shape, pixels))
		found := []ort.Value{nil, nil} // made by Run
		must(0, session.Run([]ort.Value{tensor}, found))
		text := ""
		for _, id := range found[0].(*ort.Tensor[int32]).GetData() {
			if id >= 0 { // -1 after the end
				text += charSet[id]
			}
		}
		fmt.Printf("%s\t%s\t%.4f\n", path, text, found[1].(*ort.Tensor[float32]).GetData()[0])
		for _, value := range append(found, tensor) {
			value.Destroy()
		}
	}
}

// readPixels returns the RGB bytes of an image; transparent parts become white.
func readPixels(path string, width, height int) (pixels []uint8, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	decoded, _, err := image.Decode(file)
	if err != nil {
		return nil, err
	}
	if size := decoded.Bounds().Size(); size.X != width || size.Y != height {
		return nil, fmt.Errorf("image of %dx%d, expected %dx%d", size.X, size.Y, width, height)
	}
	ground := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(ground, ground.Rect, image.White, image.Point{}, draw.Src)
	draw.Draw(ground, ground.Rect, decoded, decoded.Bounds().Min, draw.Over)
	for i := 0; i < len(ground.Pix); i += 4 {
		pixels = append(pixels, ground.Pix[i:i+3]...)
	}
	return pixels, nil
}
